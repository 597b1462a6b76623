package follow

// Coverage is the covered offsets of one partition.
type Coverage struct{ c coverage }

func NewCoverage(low int64) *Coverage                     { return &Coverage{coverage{low: low}} }
func (c *Coverage) Add(from, to int64)                    { c.c.add(from, to) }
func (c *Coverage) Has(o int64) bool                      { return c.c.has(o) }
func (c *Coverage) Low() int64                            { return c.c.low }
func (c *Coverage) Top() int64                            { return c.c.top() }
func (c *Coverage) Spans() int                            { return len(c.c.spans) }
func (c *Coverage) Open(target, t int64) (from, to int64) { return c.c.open(target, t) }
