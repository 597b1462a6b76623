package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "hooklog/"

// Short names for what several packages may import.
var (
	kafka   = []string{"github.com/twmb/franz-go/pkg/kgo", "github.com/twmb/franz-go/pkg/kadm", "github.com/twmb/franz-go/pkg/kerr", "github.com/twmb/franz-go/pkg/kmsg"}
	metrics = []string{"github.com/prometheus/client_golang/", "github.com/twmb/franz-go/plugin/kprom"}
	pebble  = []string{"github.com/cockroachdb/pebble/v2/"}
	group   = []string{"golang.org/x/sync/"}
)

const kfake = "github.com/twmb/franz-go/pkg/kfake"

// layoutRule is one line of the import table. Only production imports are
// held to it; tests may use what they need (but see halves).
type layoutRule struct {
	pkg string // a path below the module; "*" stands for one element
	why string // what the package is for, and so what it has no business with
	// ours and others are what it may import of the module and of other
	// modules. An entry that ends in "/" stands for itself and all below it.
	ours, others []string
	// never is what it must not import although the standard library has it.
	never []string
}

var layout = []layoutRule{
	{
		pkg: "schemas", why: "it is the contract between the halves: it knows neither servers nor brokers nor disks",
		others: []string{kafka[0], "github.com/tidwall/gjson"},
		never:  []string{"net/http", "os"},
	},
	{
		pkg: "relay/signature", why: "what judges signatures stands on the standard library alone, and touches nothing but bytes",
		never: []string{"net/http", "os", "net"},
	},
	{
		pkg: "relay/preset", why: "what is known of a provider is data, not code that reaches out",
		ours: []string{"schemas", "relay/signature"}, never: []string{"net/http", "os", "net"},
	},
	{
		pkg: "relay/claim", why: "who may produce an ID is decided in memory: pure, no I/O, no metrics",
		ours: []string{"schemas"}, never: []string{"net", "net/http", "os"},
	},
	{
		pkg: "relay/index", why: "the index holds facts in Pebble; how they get there is not its business",
		ours: []string{"schemas"}, others: slices.Concat(pebble, metrics),
	},
	{
		pkg: "relay/follow", why: "it keeps an index true to a topic, and sees no request",
		ours: []string{"schemas", "relay/index"}, others: slices.Concat(kafka, metrics, group),
	},
	{
		pkg: "relay/spool", why: "it keeps events on disk; who drains them is not its business",
		ours: []string{"schemas"}, others: slices.Concat(pebble, metrics),
	},
	{
		pkg: "relay", why: "the accept path ends in Kafka: it knows nothing of who reads",
		ours:   []string{"schemas", "relay/"},
		others: slices.Concat([]string{"github.com/valyala/fasthttp"}, kafka, metrics, group),
		never:  []string{"net/http"},
	},
	{
		pkg: "consumers", why: "groups start at the log: of the relay they share only the index of it",
		ours:   []string{"schemas", "relay/index"},
		others: slices.Concat([]string{"cel.dev/cel-go/", "github.com/tidwall/gjson"}, kafka, metrics, group),
	},
	{
		pkg: "consumers/consumerstest", why: "it is for users' handlers: it needs no broker",
		ours: []string{"schemas", "consumers"},
	},
	{
		pkg: "consumers/sink/*", why: "a sink knows where events go, not where they come from",
		ours: []string{"schemas", "consumers"}, others: slices.Concat(kafka, metrics),
	},
	{
		pkg: "consumers/sinktest", why: "the conformance suite sees a sink as a group does",
		ours: []string{"schemas", "consumers"},
	},
	{
		pkg: "consumers/history", why: "it reads the log again without a group; verifiers come in as functions, so it needs no relay",
		ours: []string{"schemas", "consumers"}, others: slices.Concat(kafka, group),
	},
	{
		pkg: "cmd/internal/admin", why: "it shows what others do through small interfaces that it declares",
		ours: []string{"schemas"}, others: metrics,
	},
	{
		pkg: "cmd/internal/config", why: "it turns a file into the packages' Options and starts nothing",
		ours:   []string{"schemas", "relay/", "consumers/", "cmd/internal/demo"},
		others: slices.Concat([]string{"github.com/goccy/go-yaml/", "github.com/twmb/franz-go/pkg/sasl/"}, kafka),
		never:  []string{"net/http"},
	},
	{
		pkg: "cmd/internal/broker", why: "it is the only place that knows the embedded broker; the rest sees Kafka",
		others: slices.Concat([]string{kfake}, kafka, group),
	},
	{
		pkg: "cmd/internal/demo", why: "the demo is written as a user would: against the library",
		ours: []string{"schemas", "consumers", "relay", "relay/preset", "relay/signature"},
	},
	{
		pkg: "cmd/hooklog", why: "it wires everything, and meets the embedded broker only through cmd/internal/broker",
		ours:   []string{"schemas", "relay/", "consumers/", "cmd/internal/"},
		others: slices.Concat([]string{"github.com/spf13/cobra", "github.com/spf13/pflag"}, kafka, metrics, group),
	},
	{
		pkg: "cmd/bench", why: "it runs other programs and measures them from outside",
		ours: []string{"cmd/bench/"},
	},
	{
		pkg: "cmd/bench/bare", why: "the limit is what stands on fasthttp and franz-go alone",
		others: slices.Concat([]string{"github.com/valyala/fasthttp"}, kafka),
	},
	{
		pkg: "cmd/bench/curve", why: "it measures the index and nothing around it",
		ours: []string{"relay/claim", "relay/index", "schemas"},
	},
	{
		pkg: "cmd/bench/load", why: "the load must cost as little as it can: no client library",
		others: []string{"github.com/HdrHistogram/hdrhistogram-go"}, never: []string{"net/http"},
	},
}

// layoutPackage is what `go list -json` says of a package.
type layoutPackage struct {
	ImportPath, Dir, Name              string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

func (p *layoutPackage) path() string { return strings.TrimPrefix(p.ImportPath, module) }

func layoutPackages(t *testing.T) []layoutPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list ./...: %v\n%s", err, &stderr)
	}
	var all []layoutPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p layoutPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("decode the output of go list: %v", err)
		}
		all = append(all, p)
	}
}

// covers reports whether a list of a rule has an import.
func covers(list []string, imp string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return entry == imp || strings.HasSuffix(entry, "/") && strings.HasPrefix(imp+"/", entry)
	})
}

func layoutRuleOf(pkg string) *layoutRule {
	for i := range layout {
		if ok, _ := filepath.Match(layout[i].pkg, pkg); ok {
			return &layout[i]
		}
	}
	return nil
}

// TestLayoutImports holds every package to the import table above.
func TestLayoutImports(t *testing.T) {
	for _, p := range layoutPackages(t) {
		rule := layoutRuleOf(p.path())
		if rule == nil {
			t.Errorf("%s is not in the import table: add it there, with what it owns", p.path())
			continue
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, module)
			std := !isOurs && !strings.Contains(strings.Split(imp, "/")[0], ".")
			switch {
			case isOurs && !covers(rule.ours, ours),
				!isOurs && !std && !covers(rule.others, imp),
				std && covers(rule.never, imp):
				t.Errorf("%s imports %s: %s", p.path(), imp, rule.why)
			}
		}
	}
}

// TestLayoutHalves checks that the halves meet only in Kafka, in tests too.
func TestLayoutHalves(t *testing.T) {
	in := func(path, half string) bool { return path == half || strings.HasPrefix(path, half+"/") }
	for _, p := range layoutPackages(t) {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			imp, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if in(p.path(), "relay") && in(imp, "consumers") {
				t.Errorf("%s imports %s: the halves meet only in Kafka", p.path(), imp)
			}
			if in(p.path(), "consumers") && in(imp, "relay") && imp != "relay/index" {
				t.Errorf("%s imports %s: of the relay, consumers share only relay/index", p.path(), imp)
			}
		}
	}
}

// layoutFile is one parsed source file.
type layoutFile struct {
	pkg  *layoutPackage
	name string // below the module, for messages
	test bool
	fset *token.FileSet
	*ast.File
}

func (f *layoutFile) at(pos token.Pos) string {
	p := f.fset.Position(pos)
	return f.name + ":" + strings.TrimPrefix(p.String(), p.Filename+":")
}

func layoutFiles(t *testing.T) []layoutFile {
	t.Helper()
	var files []layoutFile
	packages := layoutPackages(t)
	for i := range packages {
		p := &packages[i]
		tests := slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		for _, name := range slices.Concat(p.GoFiles, tests) {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, layoutFile{p, p.path() + "/" + name, slices.Contains(tests, name), fset, f})
		}
	}
	return files
}

// TestLayoutPackageComments checks that every package says once what it is.
func TestLayoutPackageComments(t *testing.T) {
	comments := map[*layoutPackage][]string{}
	for _, f := range layoutFiles(t) {
		if f.test {
			continue
		}
		found := comments[f.pkg]
		if f.Doc != nil {
			found = append(found, f.name)
			want := "Package " + f.pkg.Name + " "
			if f.pkg.Name == "main" {
				want = "Command "
			}
			if text := f.Doc.Text(); !strings.HasPrefix(text, want) {
				t.Errorf("%s: the package comment starts %.20q, want %q", f.name, text, want)
			}
		}
		comments[f.pkg] = found
	}
	for p, found := range comments {
		switch len(found) {
		case 0:
			t.Errorf("%s has no package comment: say what it owns, promises and does not do", p.path())
		case 1:
		default:
			t.Errorf("%s has several package comments (%s): one tells the truth longer", p.path(), strings.Join(found, ", "))
		}
	}
}

// call names a called function of a package, such as fmt.Println.
func call(n ast.Node) string {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok {
		return x.Name + "." + sel.Sel.Name
	}
	return ""
}

var layoutGlobals = regexp.MustCompile(`^(os\.(Getenv|LookupEnv|Environ|Exit)|flag\..*|log\.(Print|Fatal|Panic).*|slog\.(Default|SetDefault|Debug|Info|Warn|Error)|prometheus\.(MustRegister|Register))$`)

// TestLayoutCalls checks who may print, and that libraries take all they need
// as Options: no environment, flags or global loggers and registries.
func TestLayoutCalls(t *testing.T) {
	for _, f := range layoutFiles(t) {
		if f.test || strings.HasPrefix(f.name, "cmd/") {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			name := call(n)
			if strings.HasPrefix(name, "fmt.Print") && f.pkg.path() != "consumers/sink/print" {
				t.Errorf("%s: %s: only cmd and the print sink write to standard output", f.at(n.Pos()), name)
			}
			if layoutGlobals.MatchString(name) {
				t.Errorf("%s: %s: libraries get what they need by their Options", f.at(n.Pos()), name)
			}
			return true
		})
	}
}

// TestLayoutSleeps checks that no test waits by guessing. In a synctest bubble
// a sleep takes no time, and files named sim_ run in one; in a loop it is the
// pause of a poll.
func TestLayoutSleeps(t *testing.T) {
	for _, f := range layoutFiles(t) {
		if !f.test || strings.HasPrefix(filepath.Base(f.name), "sim_") {
			continue
		}
		var stack []ast.Node
		ast.Inspect(f.File, func(n ast.Node) bool {
			if n == nil {
				stack = stack[:len(stack)-1]
				return true
			}
			stack = append(stack, n)
			if call(n) == "time.Sleep" && !slices.ContainsFunc(stack, func(n ast.Node) bool {
				_, loop := n.(*ast.ForStmt)
				return loop || call(n) == "synctest.Test"
			}) {
				t.Errorf("%s: time.Sleep in a test: poll with a deadline, or use synctest", f.at(n.Pos()))
			}
			return true
		})
	}
}

// A note of work left to do needs a reason, and a condition for its removal.
var (
	layoutNote      = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	layoutNoteWhole = regexp.MustCompile(`(?s)\bTODO: .{20,}`)
	layoutNoteUntil = regexp.MustCompile(`\b(when|once|until|after|as soon as)\b`)
)

// TestLayoutNotes checks the comments that promise later work.
func TestLayoutNotes(t *testing.T) {
	for _, f := range layoutFiles(t) {
		for _, group := range f.Comments {
			text := group.Text()
			if layoutNote.MatchString(text) && (!layoutNoteWhole.MatchString(text) || !layoutNoteUntil.MatchString(text)) {
				t.Errorf("%s: want \"TODO: <reason>, until/when/once <condition>\", got %.60q", f.at(group.Pos()), text)
			}
		}
	}
}
