package report

import (
	"os"
	"strings"
)

// style is that of a picture that stands alone: the colours of its axes and text are those of its page in the reports.
const style = `<style>svg { color: #1c1c1e; background: #fff } text { fill: currentColor }
@media (prefers-color-scheme: dark) { svg { color: #e8e8ea; background: #17181b } }</style>`

// WriteFile draws the chart as a picture that is legible without a page around it.
func (c Chart) WriteFile(path string) error {
	svg, err := c.SVG()
	if err != nil {
		return err
	}
	at := strings.Index(svg, ">") + 1
	svg = svg[:at] + style + strings.ReplaceAll(svg[at:], "font-size:10px", "font-size:12px")
	return os.WriteFile(path, []byte(svg), 0o644)
}
