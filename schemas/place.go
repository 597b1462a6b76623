package schemas

import "strings"

// Place is where one part of an extractor's text stands. One field is set;
// neither is for the hash of the body.
type Place struct {
	// Header is a lower-case header name.
	Header string
	// Path are the names and indexes that lead to a value of the JSON body.
	Path []string
}

// Places returns where the extractor's first choice looks, part by part: what a
// sender fills in so that the text is found.
func (x Extractor) Places() []Place {
	out := make([]Place, len(x.parts))
	for i, p := range x.parts {
		_, rest, _ := strings.Cut(p.text, ":")
		switch p.kind {
		case partHeader:
			out[i].Header = p.name
		case partBody:
			out[i].Path = strings.Split(rest, ".")
		case partHash:
		}
	}
	return out
}
