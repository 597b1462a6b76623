package consumers

import (
	"strings"
	"unicode/utf8"

	"hooklog/schemas"
)

// MatchGlob reports whether a pattern matches the whole text: "*" stands for
// any run of characters, also none, "?" for exactly one, everything else for
// itself. It takes at most time proportional to the product of their lengths.
func MatchGlob(pattern, text string) bool {
	// On a mismatch only the last "*" can take one character more: all before
	// it is matched as early as possible already.
	star, resume := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
			continue
		case p < len(pattern) && pattern[p] == '?':
			_, size := utf8.DecodeRuneInString(text[t:])
			p++
			t += size
			continue
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
			continue
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(text[resume:])
		resume += size
		p, t = star+1, resume
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// route is a Route ready for use.
type route struct {
	name        string
	source, typ string
	handler     Handler
	sink        Sink
	anySource   bool
	anyType     bool
}

// router finds the routes of an event. It is immutable.
type router struct {
	routes []*route
}

func newRouter(routes []Route) *router {
	r := &router{routes: make([]*route, len(routes))}
	for i, o := range routes {
		orDefault(&o.Source, "*")
		orDefault(&o.Type, "*")
		r.routes[i] = &route{
			name: o.Name, source: o.Source, typ: o.Type, anySource: o.Source == "*", anyType: o.Type == "*",
			handler: o.Handler, sink: o.Sink,
		}
	}
	return r
}

// match appends the routes that match to dst; all of them get the event.
func (r *router) match(dst []*route, source schemas.SourceName, typ schemas.EventType) []*route {
	for _, t := range r.routes {
		if (t.anySource || MatchGlob(t.source, string(source))) && (t.anyType || MatchGlob(t.typ, string(typ))) {
			dst = append(dst, t)
		}
	}
	return dst
}
