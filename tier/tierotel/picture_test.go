package tierotel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// What the processes of the picture go through, in seconds from its beginning.
const (
	pictureBegins = 15  // after the stores have
	everythingAt  = 30  // everything is invalidated
	awayAt        = 60  // the server stops
	backAt        = 66  // and goes on
	pictureLasts  = 100 // in all
)

// TestThePictureOfTheDashboard draws docs/images/dashboard.svg, into the folder that TIERCACHE_PICTURES names: two processes on a real
// server, whose metrics a Prometheus reads, and what it answers to the dashboard's queries. It takes two minutes:
//
//	PATH="$(scripts/get-promtool):$PATH" VALKEY_SERVER="$(scripts/get-valkey)" TIERCACHE_EXTRA=1 TIERCACHE_PICTURES="$PWD/docs/images" \
//		go test -run ThePicture ./tier/tierotel
func TestThePictureOfTheDashboard(t *testing.T) {
	folder := os.Getenv("TIERCACHE_PICTURES")
	if folder == "" {
		t.Skip("TIERCACHE_PICTURES names no folder")
	}
	valkeytest.Extra(t, "prometheus")
	server := valkeytest.Start(t, valkeytest.Config("maxmemory", "100mb"), valkeytest.Config("maxmemory-policy", "volatile-lru"))
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	var stores []*world
	for range 2 {
		w := open(t, tier.WithValkey(server.URL()), tier.WithLocalEntries(500), tier.WithRemoteTimeout(time.Second))
		stores = append(stores, w)
		serve(ctx, t, &work, w)
	}
	p := startPrometheus(t, stores...)
	began := time.Now().Add(pictureBegins * time.Second)
	after := func(seconds int) { // after the picture's beginning
		t.Helper()
		select {
		case <-time.After(time.Until(began.Add(time.Duration(seconds) * time.Second))):
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
	after(everythingAt)
	_, err := stores[0].InvalidateAll(ctx)
	require.NoError(t, err)
	after(awayAt)
	server.Pause()
	after(backAt)
	server.Resume()
	after(pictureLasts)
	stop()
	work.Wait()

	var d dashboardPanels
	require.NoError(t, json.Unmarshal([]byte(read(t, "grafana/tiercache.json")), &d))
	shown := 0
	for i := range d.Panels {
		for _, target := range d.Panels[i].Targets {
			results, err := p.ask(ready(target.Expr), "start", strconv.FormatInt(began.Unix(), 10),
				"end", strconv.FormatInt(began.Unix()+pictureLasts, 10), "step", "1")
			require.NoError(t, err, "%s: %s", d.Panels[i].Title, target.Expr)
			for _, s := range results {
				d.Panels[i].lines = append(d.Panels[i].lines, lineOf(t, s, target.LegendFormat, began.Unix()))
				shown++
			}
		}
		if len(d.Panels[i].Targets) > 0 {
			assert.NotEmpty(t, d.Panels[i].lines, d.Panels[i].Title)
		}
	}
	require.Greater(t, shown, 50)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "dashboard.svg"), []byte(d.draw()), 0o644))
}

// serve reads, sets and invalidates as a service does, until ctx ends.
func serve(ctx context.Context, t *testing.T, work *sync.WaitGroup, w *world) {
	docs := view[string](t, w.Store, "docs:technical", tier.WithTTL(20*time.Second), tier.WithStaleOnError(time.Minute))
	users := view[string](t, w.Store, "users", tier.WithTTL(8*time.Second), tier.WithStaleWhileRevalidate(4*time.Second))
	pages := view[string](t, w.Store, "pages", tier.WithTTL(time.Hour))
	source := func(takes time.Duration, fails, absent float64) tier.Loader[string] {
		return func(ctx context.Context, e *tier.Entry) (string, error) {
			e.DependsOn("doc-" + strconv.Itoa(rand.IntN(40)))
			select {
			case <-time.After(time.Duration(float64(takes) * (0.2 + rand.ExpFloat64()))):
			case <-ctx.Done():
				return "", ctx.Err()
			}
			switch x := rand.Float64(); {
			case x < fails:
				return "", errOrigin
			case x < fails+absent:
				return "", tier.ErrNotFound
			}
			return strings.Repeat("v", 200+rand.IntN(800)), nil
		}
	}
	each := func(every time.Duration, do func()) {
		work.Go(func() {
			for tick := time.NewTicker(every); ; {
				select {
				case <-tick.C:
					do()
				case <-ctx.Done():
					tick.Stop()
					return
				}
			}
		})
	}
	get := func(c *tier.Cache[string], keys uint64, load tier.Loader[string]) func() {
		zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 4, keys-1)
		return func() {
			if _, err := c.Get(ctx, strconv.FormatUint(zipf.Uint64(), 10), load); err != nil && ctx.Err() == nil {
				known := errors.Is(err, errOrigin) || errors.Is(err, tier.ErrNotFound)
				assert.True(t, known, "%v", err)
			}
		}
	}
	for range 4 {
		each(8*time.Millisecond, get(docs, 2000, source(15*time.Millisecond, 0.02, 0.02)))
		each(16*time.Millisecond, get(users, 500, source(5*time.Millisecond, 0, 0.01)))
		each(32*time.Millisecond, get(pages, 200, source(40*time.Millisecond, 0, 0)))
	}
	each(400*time.Millisecond, func() { _, _ = w.InvalidateSource(ctx, "doc-"+strconv.Itoa(rand.IntN(40))) })
	each(100*time.Millisecond, func() { _ = users.Set(ctx, strconv.Itoa(rand.IntN(500)), "set") })
	each(3*time.Second, func() { _, _ = w.InvalidateNamespace(ctx, "users:none") })
	each(time.Second, func() { _ = pages.Delete(ctx, strconv.Itoa(rand.IntN(200))) })
}

// dashboardPanels is what the picture needs of the dashboard.
type dashboardPanels struct{ Panels []dashboardPanel }

type dashboardPanel struct {
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr, LegendFormat string }
	lines       []drawnLine
}

type drawnLine struct {
	name   string
	points [][2]float64 // seconds, value
}

func (l drawnLine) most() (most float64) {
	for _, p := range l.points {
		most = max(most, p[1])
	}
	return most
}

// instances are what the picture calls the processes: their ports are others each time.
var instances = make(map[string]string)

func lineOf(t *testing.T, s series, legend string, begins int64) drawnLine {
	l := drawnLine{name: legend}
	for label, value := range s.Metric {
		if label == "instance" {
			if instances[value] == "" {
				instances[value] = "app-" + strconv.Itoa(len(instances)+1)
			}
			value = instances[value]
		}
		l.name = strings.ReplaceAll(l.name, "{{"+label+"}}", value)
	}
	for _, v := range s.Values {
		value, err := strconv.ParseFloat(v[1].(string), 64)
		require.NoError(t, err)
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			l.points = append(l.points, [2]float64{v[0].(float64) - float64(begins), value})
		}
	}
	return l
}

// The picture: three columns, as the dashboard has them.
const (
	panelWidth, panelHeight = 312, 190
	rowHeight               = 34
	plotLeft, plotTop       = 58, 60
	plotRight, plotBottom   = panelWidth - 14, panelHeight - 26
	mostLines               = 8 // colours, and names that fit
)

const pictureStyle = `
    svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px }
    text { fill: #1f2328 }
    .page { fill: #ffffff }
    .panel { fill: #f6f8fa; stroke: #d0d7de }
    .row { font-size: 15px; font-weight: 600 }
    .title { font-size: 13px; font-weight: 600 }
    .dim { fill: #57606a }
    .e { text-anchor: end }
    .m { text-anchor: middle }
    .grid { stroke: #d0d7de }
    .mark { fill: #57606a; fill-opacity: 0.16 }
    .line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
    .c0 { stroke: #0969da } .c1 { stroke: #1a7f37 } .c2 { stroke: #bc4c00 } .c3 { stroke: #8250df }
    .c4 { stroke: #cf222e } .c5 { stroke: #7d6608 } .c6 { stroke: #0a7ea4 } .c7 { stroke: #bf3989 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .page { fill: #0d1117 }
      .panel { fill: #161b22; stroke: #30363d }
      .dim { fill: #9ea7b3 }
      .grid { stroke: #30363d }
      .mark { fill: #b1bac4; fill-opacity: 0.2 }
      .c0 { stroke: #58a6ff } .c1 { stroke: #3fb950 } .c2 { stroke: #f0883e } .c3 { stroke: #bc8cff }
      .c4 { stroke: #ff7b72 } .c5 { stroke: #e3b341 } .c6 { stroke: #56d4dd } .c7 { stroke: #f778ba }
    }
`

func (d *dashboardPanels) draw() string {
	var b strings.Builder
	y, at := 8, make(map[int]int) // by the dashboard's y, that of the picture
	for _, p := range d.Panels {
		if _, known := at[p.GridPos.Y]; known {
			continue
		}
		at[p.GridPos.Y] = y
		if p.Type == "row" {
			y += rowHeight
		} else {
			y += panelHeight + 8
		}
	}
	width := 3*(panelWidth+8) + 8
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\" role=\"img\" aria-labelledby=\"title\">\n", width, y)
	fmt.Fprintf(&b, "  <title id=\"title\">What a Prometheus answers to each query of the dashboard, of two processes: after %d s everything is invalidated, from %d to %d s the server is stopped</title>\n", everythingAt, awayAt, backAt)
	fmt.Fprintf(&b, "  <style>%s  </style>\n  <rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", pictureStyle, width, y)
	for _, p := range d.Panels {
		x, y := 8+p.GridPos.X/8*(panelWidth+8), at[p.GridPos.Y]
		if p.Type == "row" {
			fmt.Fprintf(&b, "  <text class=\"row\" x=\"10\" y=\"%d\">%s</text>\n", y+22, html.EscapeString(p.Title))
			continue
		}
		fmt.Fprintf(&b, "  <g transform=\"translate(%d %d)\">\n%s  </g>\n", x, y, p.draw())
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *dashboardPanel) draw() string {
	var b strings.Builder
	fmt.Fprintf(&b, "    <rect class=\"panel\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n    <text class=\"title\" x=\"10\" y=\"20\">%s</text>\n", panelWidth, panelHeight, html.EscapeString(p.Title))
	slices.SortStableFunc(p.lines, func(a, b drawnLine) int { // the largest first; there may be more than have a colour
		if x, y := a.most(), b.most(); x != y {
			return int(math.Copysign(1, y-x))
		}
		return strings.Compare(a.name, b.name)
	})
	lines := p.lines[:min(len(p.lines), mostLines)]
	top := 0.0
	for _, l := range lines {
		top = max(top, l.most())
	}
	top = roundUp(top, p.FieldConfig.Defaults.Unit)
	xOf := func(s float64) float64 { return plotLeft + s/pictureLasts*(plotRight-plotLeft) }
	yOf := func(v float64) float64 { return plotBottom - v/top*(plotBottom-plotTop) }
	fmt.Fprintf(&b, "    <rect class=\"mark\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", xOf(awayAt), plotTop, xOf(backAt)-xOf(awayAt), plotBottom-plotTop)
	fmt.Fprintf(&b, "    <rect class=\"mark\" x=\"%.1f\" y=\"%d\" width=\"1.5\" height=\"%d\"/>\n", xOf(everythingAt), plotTop, plotBottom-plotTop)
	for _, part := range []float64{0, 0.5, 1} {
		y := yOf(part * top)
		fmt.Fprintf(&b, "    <line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n    <text class=\"dim e\" x=\"%d\" y=\"%.1f\">%s</text>\n",
			plotLeft, plotRight, y, y, plotLeft-6, y+4, inUnit(part*top, p.FieldConfig.Defaults.Unit))
	}
	for s := 0; s <= pictureLasts; s += 25 {
		anchor := "m"
		if s == pictureLasts {
			anchor = "e"
		}
		fmt.Fprintf(&b, "    <text class=\"dim %s\" x=\"%.1f\" y=\"%d\">%d s</text>\n", anchor, xOf(float64(s)), panelHeight-9, s)
	}
	x, y := 10.0, 36.0 // of names
	hidden := 0
	for i, l := range lines {
		var path strings.Builder
		before := math.Inf(-1)
		for _, point := range l.points {
			op := "L"
			if point[0] > before+1.5 {
				op = "M" // there was nothing between
			}
			before = point[0]
			fmt.Fprintf(&path, "%s%.1f %.1f", op, xOf(point[0]), yOf(min(point[1], top)))
		}
		fmt.Fprintf(&b, "    <path class=\"line c%d\" d=\"%s\"/>\n", i, path.String())
		space := 26 + 7.4*float64(len(l.name))
		if x+space > panelWidth {
			x, y = 10, y+15
		}
		if y > plotTop-6 {
			hidden++
			continue
		}
		fmt.Fprintf(&b, "    <path class=\"line c%d\" d=\"M%.0f %.0fh12\"/>\n    <text x=\"%.0f\" y=\"%.0f\">%s</text>\n", i, x, y-4, x+16, y, html.EscapeString(l.name))
		x += space
	}
	if hidden += len(p.lines) - len(lines); hidden > 0 {
		fmt.Fprintf(&b, "    <text class=\"dim e\" x=\"%d\" y=\"20\">%d more</text>\n", panelWidth-10, hidden)
	}
	return b.String()
}

// roundUp returns the value at the top of an axis.
func roundUp(v float64, unit string) float64 {
	switch {
	case unit == "percentunit":
		for _, step := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5} {
			if v <= step {
				return step
			}
		}
		return 1
	case v <= 0:
		return 1
	}
	digit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5, 10} {
		if v <= step*digit*1.0001 {
			return step * digit
		}
	}
	return v
}

func inUnit(v float64, unit string) string {
	trimmed := func(v float64) string {
		text := strconv.FormatFloat(v, 'f', 3, 64)
		return strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	switch {
	case v == 0:
		return "0"
	case unit == "percentunit":
		return trimmed(100*v) + " %"
	case unit == "s" && v < 1e-3:
		return trimmed(1e6*v) + " µs"
	case unit == "s" && v < 1:
		return trimmed(1e3*v) + " ms"
	case unit == "s":
		return trimmed(v) + " s"
	case unit == "bytes" && v >= 1e6:
		return trimmed(v/1e6) + " MB"
	case unit == "bytes" && v >= 1e3:
		return trimmed(v/1e3) + " kB"
	case unit == "reqps", unit == "ops":
		return trimmed(v) + "/s"
	}
	return trimmed(v)
}
