package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hooklog/consumers"
)

// A group's name is a folder, and the start of its dead letter topic's name.
var groupForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}$`)

var routeForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

func (b *builder) groups() {
	dirs := map[string]place{}
	for i := range b.doc.Consumers.items {
		e := &b.doc.Consumers.items[i]
		if !groupForm.MatchString(e.name) {
			b.wrong(e.place, "a group's name matches [a-zA-Z0-9][a-zA-Z0-9._-]{0,199}")
		}
		if e.value != nil {
			b.config.Groups = append(b.config.Groups, b.group(e, dirs))
		}
	}
}

func (b *builder) group(e *entry[*groupDoc], dirs map[string]place) Group {
	doc := e.value
	o := consumers.Options{
		Group:                 e.name,
		Topics:                b.groupTopics(doc),
		Client:                b.config.Kafka.Client,
		Start:                 b.start(&doc.Start),
		Timeout:               doc.Timeout.or(consumers.DefaultTimeout),
		MaxInFlight:           b.within(&doc.MaxInFlight, 1, maxInFlight, consumers.DefaultMaxInFlight),
		OnLostOffset:          b.onLostOffset(&doc.OnLostOffset),
		DeadLetterReplication: b.config.Kafka.Topics.Replication,
		Dir:                   filepath.Join(b.config.Data, "groups", e.name),
	}
	o.Retry = b.retry(doc.Retry)
	dead := doc.DeadLetter
	if !dead.isSet() {
		name := e.name + ".dead"
		dead = text{place: e.place, value: name, source: name}
	}
	if groupForm.MatchString(e.name) || doc.DeadLetter.isSet() {
		o.DeadLetter = b.topic(&dead, "", topicUse{dead: true})
	}
	if slices.Contains(o.Topics, o.DeadLetter) {
		b.wrong(dead.place, "the group reads the topic of its dead letters: what fails would come back for ever", "dead letters need a topic of their own")
	}
	switch d := &doc.Duplicates; {
	case d.value == "drop":
		b.notYet(d.place, "duplicates: drop", "duplicates: keep is what it does")
	case d.isSet() && d.value != "keep":
		b.wrong(d.place, "unknown duplicates "+d.shown(), didYouMean(d.value, []string{"drop", "keep"}), "keep")
	}
	if doc.Lookback.isSet() {
		b.doubt(doc.Lookback.place, "it has no effect yet: this version does not drop duplicates")
	}
	if doc.OrderBy.isSet() {
		b.notYet(doc.OrderBy.place, "order_by", "max_in_flight: 1 handles one event at a time")
	}
	g := Group{Name: e.name, Options: o}
	b.routes(e, &g, dirs)
	return g
}

func (b *builder) groupTopics(doc *groupDoc) []string {
	if !doc.Topic.isSet() {
		return []string{b.config.Kafka.Topic}
	}
	var out []string
	for i := range doc.Topic.items {
		t := &doc.Topic.items[i]
		if !t.isSet() {
			continue
		}
		if slices.Contains(out, t.value) {
			b.wrong(t.place, "the topic is named twice")
			continue
		}
		out = append(out, b.topic(t, "", topicUse{}))
	}
	return out
}

func (b *builder) start(t *text) (s consumers.Start) {
	switch t.or("earliest") {
	case "earliest":
	case "latest":
		s.Latest = true
	default:
		at, err := parseInstant(t.value)
		if err != nil {
			b.wrong(t.place, "want earliest, latest or a time such as 2026-01-31T09:00:00Z, got "+t.shown(), didYouMean(t.value, []string{"earliest", "latest"}))
		}
		s.Time = at
	}
	return s
}

func (b *builder) onLostOffset(t *text) consumers.LostOffset {
	switch t.or("stop") {
	case "stop":
	case "earliest":
		return consumers.LostOffsetEarliest
	default:
		b.wrong(t.place, "unknown on_lost_offset "+t.shown(), didYouMean(t.value, []string{"stop", "earliest"}), "stop or earliest")
	}
	return consumers.LostOffsetStop
}

func (b *builder) retry(doc *retryDoc) consumers.Retry {
	if doc == nil {
		doc = &retryDoc{}
	}
	r := consumers.Retry{
		Attempts: b.within(&doc.Attempts, 1, maxAttempts, consumers.DefaultAttempts),
		Min:      doc.Min.or(consumers.DefaultRetryMin),
	}
	r.Max = doc.Max.or(max(r.Min, consumers.DefaultRetryMax))
	if r.Min > r.Max {
		at := doc.Max.place
		if doc.Min.isSet() {
			at = doc.Min.place
		}
		b.wrong(at, fmt.Sprintf("the first wait, %v, is longer than the longest, %v", r.Min, r.Max))
	}
	return r
}

func (b *builder) routes(e *entry[*groupDoc], g *Group, dirs map[string]place) {
	doc := e.value
	path := join(e.path, "routes")
	if len(doc.Routes.items) == 0 && !b.mentioned(path) {
		b.wrong(e.place, "routes are missing", "routes: [{to: print}]")
	}
	names := map[string]bool{}
	var first mode
	for _, r := range doc.Routes.items {
		if r == nil {
			continue
		}
		name := b.routeName(e, r, names)
		target, m := b.target(r, dirs)
		switch {
		case m == "":
		case first == "":
			first = m
		case m != first:
			b.wrong(r.To.place, fmt.Sprintf("its delivery mode is %s, that of the routes above is %s, and a group has one", m, first), "make two groups")
		}
		if r.Where.line > 0 {
			b.notYet(r.Where.place, "where", "source and type choose events")
		}
		if r.Split.line > 0 {
			b.notYet(r.Split.place, "split")
		}
		g.Options.Routes = append(g.Options.Routes, consumers.Route{Name: name, Source: b.sourceGlob(&r.Source), Type: b.typeGlob(&r.Type)})
		g.Targets = append(g.Targets, target)
	}
}

func (b *builder) routeName(e *entry[*groupDoc], r *routeDoc, names map[string]bool) string {
	t := &r.Name
	switch {
	case !t.isSet():
		if len(e.value.Routes.items) > 1 && !b.mentioned(join(r.path, "name")) {
			b.wrong(r.place, "name is missing: a group with several routes needs one for each")
		}
		return e.name
	case !routeForm.MatchString(t.value):
		b.wrong(t.place, "a route's name matches [a-zA-Z0-9][a-zA-Z0-9._-]{0,63}, got "+t.shown())
	case names[t.value]:
		b.wrong(t.place, "another route of the group has the name "+t.shown())
	}
	names[t.value] = true
	return t.value
}

// sourceGlob checks a glob over names of sources.
func (b *builder) sourceGlob(t *text) string {
	glob := t.or("*")
	if !b.glob(t) || !t.isSet() {
		return glob
	}
	if strings.ContainsFunc(glob, func(c rune) bool {
		return c != '*' && c != '?' && c != '.' && c != '_' && c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}) {
		b.wrong(t.place, "no source can have a name that "+t.shown()+" matches", "names are lower case: a-z 0-9 . _ -")
		return glob
	}
	// A file without sources reads what other relays wrote.
	if names := b.doc.Sources.items; len(names) > 0 && !slices.ContainsFunc(names, func(s entry[*sourceDoc]) bool { return consumers.MatchGlob(glob, s.name) }) {
		known := make([]string, len(names))
		for i, s := range names {
			known[i] = s.name
		}
		b.doubt(t.place, t.shown()+" matches none of the sources", didYouMean(glob, known))
	}
	return glob
}

// typeGlob checks a glob over event types, which may be any text.
func (b *builder) typeGlob(t *text) string {
	if b.glob(t) && strings.ContainsAny(t.value, "{}[]|,") {
		b.doubt(t.place, "only * and ? have a meaning in "+t.shown()+", all else is taken as it is", "write a route for each type")
	}
	return t.or("*")
}

func (b *builder) glob(t *text) bool {
	switch {
	case !t.isSet():
	case t.value == "":
		b.wrong(t.place, "the glob is empty and matches nothing", `"*" matches all`)
		return false
	case len(t.value) > 256:
		b.wrong(t.place, "the glob is longer than any name it could match")
		return false
	case strings.ContainsFunc(t.value, func(c rune) bool { return c < 0x20 || c == 0x7f }):
		b.wrong(t.place, "the glob has a control character")
		return false
	}
	return true
}
