package report

import (
	"fmt"
	"html/template"
	"io"
	"slices"
)

// Page is the report: sections of text, charts and tables, in this order.
type Page struct {
	Title, About string
	Sections     []Section
}

// Section is a part of a page.
type Section struct {
	Title, Text string
	Charts      []Chart
	Tables      []Table
}

// Table has one head row. Cells other than the first of a row are set as numbers.
type Table struct {
	Caption string
	Head    []string
	Rows    [][]string
	Bold    []int // rows that stand out
}

// Write renders the page. It refers to nothing outside itself.
func (p Page) Write(w io.Writer) error {
	type section struct {
		Section
		SVGs []template.HTML
	}
	data := struct {
		Page
		Sections []section
	}{Page: p}
	for _, s := range p.Sections {
		drawn := section{Section: s}
		for _, c := range s.Charts {
			svg, err := c.SVG()
			if err != nil {
				return fmt.Errorf("report: %w", err)
			}
			drawn.SVGs = append(drawn.SVGs, template.HTML(svg)) // by the chart library, which escapes text
		}
		data.Sections = append(data.Sections, drawn)
	}
	return page.Execute(w, data)
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"bold": slices.Contains[[]int],
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; --text: #1c1c1e; --page: #ffffff; --rule: #c8c8cc; --quiet: #5c5c62; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8ea; --page: #17181b; --rule: #46474c; --quiet: #a4a5ab; } }
@media print { :root { --text: #000; --page: #fff; --rule: #999; --quiet: #333; } section, figure, table { break-inside: avoid; } }
body { font: 16px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: var(--text); background: var(--page); margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
p { max-width: 46rem; } .about { color: var(--quiet); }
figure { margin: 1.5rem 0; } svg { width: 100%; height: auto; color: var(--text); }
svg text { font-family: "Liberation Sans", Arial, Helvetica, sans-serif !important; fill: currentColor; }
.tables { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { padding: 0.15rem 0.6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.bold td { font-weight: 700; }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p class="about">{{.About}}</p>
{{range .Sections}}<section>
<h2>{{.Title}}</h2>
<p>{{.Text}}</p>
{{range .SVGs}}<figure>{{.}}</figure>
{{end}}{{range $t := .Tables}}<div class="tables"><table>
<caption>{{.Caption}}</caption>
<thead><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr></thead>
<tbody>{{range $i, $row := .Rows}}<tr{{if bold $t.Bold $i}} class="bold"{{end}}>{{range $row}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody>
</table></div>
{{end}}</section>
{{end}}</body>
</html>
`))
