package tierotel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// promName is what exporters for Prometheus make of the name of a metric.
func promName(m metricdata.Metrics) string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	switch m.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	switch m.Data.(type) {
	case metricdata.Sum[int64], metricdata.Sum[float64]:
		name += "_total"
	}
	return name
}

// busy is a store with which all metrics have a value.
func busy(t *testing.T) *world {
	w := open(t)
	c := view[string](t, w.Store, "docs:technical", tier.WithTTL(time.Hour))
	ctx := t.Context()
	for i := range 20 {
		_, err := c.Get(ctx, fmt.Sprint(i), is("v"))
		require.NoError(t, err)
		_, err = c.Get(ctx, fmt.Sprint(i), is("v"))
		require.NoError(t, err)
	}
	_, err := c.Get(ctx, "bad", func(context.Context, *tier.Entry) (string, error) { return "", errOrigin })
	require.ErrorIs(t, err, errOrigin)
	_, err = c.Get(ctx, "none", func(context.Context, *tier.Entry) (string, error) { return "", tier.ErrNotFound })
	require.ErrorIs(t, err, tier.ErrNotFound)
	require.NoError(t, c.Set(ctx, "k", "w"))
	_, err = w.InvalidateSource(ctx, "doc-1")
	require.NoError(t, err)
	eventually(t, "stored", func() bool { return w.Stats().Fills == 21 })
	return w
}

func (w *world) metrics(t testing.TB) (all []metricdata.Metrics) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, w.reader.Collect(context.Background(), &rm))
	for _, s := range rm.ScopeMetrics {
		all = append(all, s.Metrics...)
	}
	return all
}

// registered are the names of all metrics. Those that no test makes happen are in the source.
func registered(t *testing.T) (otel []string, prom map[string]bool) {
	prom = make(map[string]bool)
	for _, m := range busy(t).metrics(t) {
		otel = append(otel, m.Name)
		prom[promName(m)] = true
	}
	return otel, prom
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func TestEachMetricIsInTheDocsAndEachAlertHasARunbook(t *testing.T) {
	page := read(t, "../../docs/metrics.md")
	otel, prom := registered(t)
	for _, name := range otel {
		assert.Contains(t, page, "`"+name+"`")
	}
	for name := range prom {
		assert.Contains(t, page, "`"+name+"`")
	}
	for _, in := range regexp.MustCompile("`(tiercache\\.[a-z.]+)`").FindAllStringSubmatch(page, -1) {
		is := slices.Contains(otel, in[1]) || strings.Contains(read(t, "metrics.go")+read(t, "tracer.go"), `"`+in[1]+`"`)
		assert.True(t, is, "%s is no metric and no attribute", in[1])
	}
	alerts := read(t, "prometheus/alerts.yml")
	runbooks := regexp.MustCompile(`runbook_url: https://github\.com/tiercache/tiercache/blob/main/docs/metrics\.md#(\S+)`).FindAllStringSubmatch(alerts, -1)
	names := regexp.MustCompile(`(?m)^\s*- alert: (\S+)$`).FindAllStringSubmatch(alerts, -1)
	require.Len(t, runbooks, len(names), "each alert has one")
	for i, name := range names {
		assert.Equal(t, strings.ToLower(name[1]), runbooks[i][1], "its own")
		assert.Regexp(t, "(?m)^### "+name[1]+"$", page)
	}
}

// panels are the queries of the dashboard, by the titles of their panels.
func panels(t *testing.T) map[string][]string {
	var d struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "grafana/tiercache.json")), &d))
	out := make(map[string][]string)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], target.Expr)
		}
	}
	return out
}

// The types are made of Grafana's schema; what they do not know is refused.
func TestTheDashboardIsOfGrafanasSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	raw := []byte(read(t, "grafana/tiercache.json"))
	//lint:ignore SA1019 the schema of version 2 is not what a Grafana of today imports by default
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(raw); err != nil { // no errors are an empty list of them, which is not nil
		require.Empty(t, err.Error())
	}
	if err := d.Validate(); err != nil {
		require.Empty(t, err.Error())
	}
	require.GreaterOrEqual(t, len(panels(t)), 16)
	//lint:ignore SA1019 the schema of version 2 is not what a Grafana of today imports by default
	var wrong dashboard.Dashboard
	err := wrong.UnmarshalJSONStrict([]byte(strings.Replace(string(raw), `"gridPos"`, `"gridPosition"`, 1)))
	require.ErrorContains(t, err, "gridPosition", "it would be found")
}

func TestTheDashboardAndTheAlertsUseWhatThereIs(t *testing.T) {
	_, prom := registered(t)
	source := read(t, "metrics.go") + read(t, "tracer.go")
	word := regexp.MustCompile(`\b(tiercache|db)_[a-z_]+\b`)
	text := read(t, "prometheus/alerts.yml")
	for _, exprs := range panels(t) {
		text += "\n" + strings.Join(exprs, "\n")
	}
	seen := 0
	for _, in := range word.FindAllString(text, -1) {
		name := strings.TrimSuffix(strings.TrimSuffix(in, "_bucket"), "_count")
		dotted := `"` + strings.Replace(name, "_", ".", 1) + `"`
		attr := strings.Contains(source, dotted) || name == "db_operation_name" || name == "db_system_name"
		assert.True(t, prom[name] || attr, "%s is no metric and no attribute", in)
		seen++
	}
	require.Greater(t, seen, 60)
}

// ready is a query as Grafana would send it.
func ready(expr string) string {
	return strings.NewReplacer("$__rate_interval", "10s", `"$job"`, `".*"`, `"$namespace"`, `".*"`).Replace(expr)
}

func TestTheRulesPassInPrometheus(t *testing.T) {
	valkeytest.Extra(t, "promtool")
	run := func(args ...string) {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = "prometheus"
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Logf("%s", out)
	}
	run("check", "rules", "alerts.yml")
	run("test", "rules", "alerts_test.yml")
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	for _, exprs := range panels(t) {
		for _, e := range exprs {
			rules += fmt.Sprintf("      - record: n%d\n        expr: %q\n", len(rules), ready(e))
		}
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	require.NoError(t, os.WriteFile(path, []byte(rules), 0o600))
	run("check", "rules", path)
}

// exposition is what a server's /metrics would say.
func (w *world) exposition(t testing.TB) string {
	var b strings.Builder
	labels := func(set attribute.Set, more ...string) string {
		var parts []string
		for _, a := range set.ToSlice() {
			parts = append(parts, fmt.Sprintf("%s=%q", strings.ReplaceAll(string(a.Key), ".", "_"), a.Value.Emit()))
		}
		return "{" + strings.Join(append(parts, more...), ",") + "}"
	}
	for _, m := range w.metrics(t) {
		name := promName(m)
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				fmt.Fprintf(&b, "%s%s %d\n", name, labels(p.Attributes), p.Value)
			}
		case metricdata.Sum[float64]:
			for _, p := range d.DataPoints {
				fmt.Fprintf(&b, "%s%s %g\n", name, labels(p.Attributes), p.Value)
			}
		case metricdata.Gauge[float64]:
			for _, p := range d.DataPoints {
				fmt.Fprintf(&b, "%s%s %g\n", name, labels(p.Attributes), p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				sum := uint64(0)
				for i, n := range p.BucketCounts {
					sum += n
					le := "+Inf"
					if i < len(p.Bounds) {
						le = fmt.Sprint(p.Bounds[i])
					}
					fmt.Fprintf(&b, "%s_bucket%s %d\n", name, labels(p.Attributes, fmt.Sprintf("le=%q", le)), sum)
				}
				fmt.Fprintf(&b, "%s_count%s %d\n%s_sum%s %g\n", name, labels(p.Attributes), p.Count, name, labels(p.Attributes), p.Sum)
			}
		}
	}
	return b.String()
}

// prometheus is one that reads what stores expose, each second.
type prometheus struct{ addr string }

func startPrometheus(t *testing.T, stores ...*world) *prometheus {
	t.Helper()
	var targets []string
	for _, w := range stores {
		metrics := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(to, w.exposition(t)) }))
		t.Cleanup(metrics.Close)
		targets = append(targets, strconv.Quote(strings.TrimPrefix(metrics.URL, "http://")))
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n  - job_name: app\n    static_configs: [{targets: [%s]}]\n", strings.Join(targets, ", "))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.yml"), []byte(config), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &prometheus{l.Addr().String()}
	require.NoError(t, l.Close())
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "p.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.addr)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

// series is one of a result: points of time and value.
type series struct {
	Metric map[string]string
	Values [][2]any
}

// ask has a query answered: of now, or with parameters of a range.
func (p *prometheus) ask(expr string, parameters ...string) ([]series, error) {
	path, values := "query", url.Values{"query": {expr}}
	for i := 0; i+1 < len(parameters); i += 2 {
		path = "query_range"
		values.Set(parameters[i], parameters[i+1])
	}
	resp, err := http.Get("http://" + p.addr + "/api/v1/" + path + "?" + values.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var got struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return nil, err
	}
	if got.Status != "success" {
		return nil, errors.New(got.Error)
	}
	return got.Data.Result, nil
}

// Those that have nothing to show of a store with which all is well.
var calm = []string{"Failed requests"}

func TestTheDashboardShowsWhatAStoreDoesInPrometheus(t *testing.T) {
	valkeytest.Extra(t, "prometheus")
	w := busy(t)
	p := startPrometheus(t, w)
	c := view[string](t, w.Store, "docs:technical")
	n := 0
	require.Eventually(t, func() bool { // until there is a rate of each
		n++
		_, err := c.Get(t.Context(), fmt.Sprint("more", n), is("v"))
		require.NoError(t, err)
		require.NoError(t, c.Set(t.Context(), "k", fmt.Sprint(n)))
		results, err := p.ask(ready(`sum(rate(tiercache_change_duration_seconds_count{job="app"}[10s])) > 0`))
		return err == nil && len(results) > 0
	}, time.Minute, 100*time.Millisecond)
	for title, exprs := range panels(t) {
		for _, e := range exprs {
			results, err := p.ask(ready(e))
			require.NoError(t, err, "%s: %s", title, e)
			if !slices.Contains(calm, title) {
				assert.NotEmpty(t, results, "%s: %s", title, e)
			}
		}
	}
}
