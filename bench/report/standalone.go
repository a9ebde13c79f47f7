package report

import "strings"

// style is that of a picture that stands alone: the colours of its axes and text are those of its page in the reports.
const style = `<style>svg { color: #1c1c1e; background: #fff } text { fill: currentColor }
@media (prefers-color-scheme: dark) { svg { color: #e8e8ea; background: #17181b } }</style>`

// StandAlone has a picture of [Chart.SVG] be legible without a page around it.
func StandAlone(svg string) string {
	at := strings.Index(svg, ">") + 1
	return svg[:at] + style + strings.ReplaceAll(svg[at:], "font-size:10px", "font-size:12px")
}
