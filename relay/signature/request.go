package signature

// Field is one header field of a request as it stood on the wire. Both slices
// belong to the request. White space around a value is not part of it.
type Field struct {
	Name, Value []byte
}

// Request is what a sender may have signed. Verify only reads it and keeps
// nothing of it.
type Request struct {
	Method []byte
	// Target is the request target as received: path and query.
	Target []byte
	// URL is the public URL the endpoint is known by at the provider, for
	// schemes that sign it; it is configured, never built from the request.
	URL    string
	Fields []Field
	Body   []byte
}

// Header returns the value of the first field of a name, and how many fields
// have that name, upper and lower case being the same. The value is nil if
// there is none, and belongs to the request.
func (r *Request) Header(name string) (value []byte, n int) {
	for i := range r.Fields {
		if f := &r.Fields[i]; equalName(f.Name, name) {
			if n++; n == 1 {
				value = f.Value
			}
		}
	}
	return value, n
}

// equalName compares header names. Only ASCII letters fold: with Unicode's
// rules a Kelvin sign would stand for a k, and two readers of one request
// could see different headers.
func equalName(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
