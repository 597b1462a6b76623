package curve_test

import (
	"testing"

	"hooklog/cmd/bench/curve"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	points, err := curve.Run(t.Context(), curve.Options{Dir: dir, IDs: []int{20_000}, Events: 20_000, Lookups: 5000})
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 1 {
		t.Fatalf("%d points, want 1", len(points))
	}
	for i, want := range []int{20_000} {
		p := points[i]
		if p.IDs != want || p.EventMicros <= 0 || p.NewNanos <= 0 || p.KnownNanos <= 0 || p.FilterBytes <= 0 || p.DiskBytes == 0 || p.Open <= 0 || p.OpenKilled <= 0 {
			t.Errorf("point %+v, want %d ids and every cost above zero", p, want)
		}
	}
}
