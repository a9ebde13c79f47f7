package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Chart is a picture of lines over one axis.
type Chart struct {
	Title, X, Y string    // with units
	LogX        bool      // all x must be above 0
	XTicks      []float64 // numbers on the axis; nil: chosen
	YMax        float64   // of the axis, which begins at 0; 0: chosen
	Lines       []Line
}

// Line is one of a chart's. What has the same Style, below 8, looks the same in all charts.
type Line struct {
	Name   string
	Style  int
	X, Y   []float64
	Stairs bool // values hold until the next
}

const (
	width, height = 17 * vg.Centimeter, 9.5 * vg.Centimeter
	legendWidth   = 4.2 * vg.Centimeter
)

// Colours that stand out from white and from black, also for those who do not see red and green apart (after Okabe and
// Ito, "Color universal design", 2008).
var palette = []color.RGBA{
	{0x3a, 0x86, 0xd0, 0xff}, {0xe0, 0x8a, 0x00, 0xff}, {0x1a, 0x9e, 0x77, 0xff}, {0xd0, 0x4f, 0x30, 0xff},
	{0x80, 0x80, 0x80, 0xff}, {0xb8, 0x63, 0xa8, 0xff}, {0x9a, 0x8a, 0x10, 0xff}, {0x40, 0xa0, 0xb8, 0xff},
}

var dashes = [][]vg.Length{
	nil, {6, 3}, {2, 2}, nil, {8, 2, 2, 2}, {4, 4}, {1, 3}, {10, 3},
}

// thick is the style of what a chart is about.
const thick = 3

func (l Line) style() draw.LineStyle {
	s := draw.LineStyle{Color: palette[l.Style%len(palette)], Width: vg.Points(1.6), Dashes: dashes[l.Style%len(dashes)]}
	if l.Style == thick {
		s.Width = vg.Points(2.8)
	}
	return s
}

// SVG draws the chart. Text and axes have the colour of the text around it.
func (c Chart) SVG() (string, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(13), vg.Points(8)
	p.BackgroundColor = nil
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{0xb0}, color.Gray{0xb0}
	grid.Horizontal.Width, grid.Vertical.Width = vg.Points(0.3), vg.Points(0.3)
	p.Add(grid)
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if c.XTicks != nil {
		p.X.Tick.Marker = ticksAt(c.XTicks, "")
	}
	legend := plot.NewLegend()
	legend.Top, legend.Left, legend.YPosition = true, true, draw.PosCenter
	legend.ThumbnailWidth, legend.Padding = vg.Points(26), vg.Points(4)
	var lines []plot.Plotter
	for _, l := range c.byHeight() {
		line, err := plotter.NewLine(l)
		if err != nil {
			return "", fmt.Errorf("%s, %s: %w", c.Title, l.Name, err)
		}
		line.LineStyle = l.style()
		if l.Stairs {
			line.StepStyle = plotter.PostStep
		}
		if l.Style == thick { // below the others, so that none is hidden where they are equal
			lines = slices.Insert(lines, 0, plot.Plotter(line))
		} else {
			lines = append(lines, line)
		}
		legend.Add(l.Name, line)
	}
	p.Add(lines...)
	p.Y.Min = 0
	if c.YMax > 0 {
		p.Y.Max = c.YMax
		p.Y.Tick.Marker = ticksAt(fifths(c.YMax), " ") // not to touch the mark
	}
	canvas := vgsvg.New(width, height)
	all := draw.New(canvas)
	p.Draw(draw.Crop(all, 0, -legendWidth, 0, 0))
	legend.Draw(draw.Crop(all, width-legendWidth+vg.Points(8), 0, 0, -vg.Points(30)))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	return adapt(b.String(), c.Title), nil
}

// fifths are six numbers from 0.
func fifths(most float64) (at []float64) {
	for i := range 6 {
		at = append(at, most*float64(i)/5)
	}
	return at
}

// ticksAt puts numbers on an axis, with something behind each.
func ticksAt(at []float64, behind string) (ticks plot.ConstantTicks) {
	for _, v := range at {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v) + behind})
	}
	return ticks
}

// byHeight orders lines by their mean, so that the legend reads as the picture does.
func (c Chart) byHeight() []Line {
	mean := func(l Line) (sum float64) {
		for _, y := range l.Y {
			sum += y / float64(len(l.Y))
		}
		return sum
	}
	return slices.SortedStableFunc(slices.Values(c.Lines), func(a, b Line) int {
		return int(math.Copysign(1, mean(b)-mean(a)))
	})
}

var (
	prologue  = regexp.MustCompile(`(?s)^.*?<svg `)
	fixedSize = regexp.MustCompile(`width="[^"]*" height="[^"]*"`)
)

// adapt lets a picture be part of a page: no prologue, as wide as there is room, black what is the colour of text.
func adapt(svg, title string) string {
	svg = prologue.ReplaceAllString(svg, "<svg ")
	at := fixedSize.FindStringIndex(svg)
	if at != nil {
		svg = svg[:at[0]] + fmt.Sprintf(`role="img" aria-label="%s"`, strings.ReplaceAll(title, `"`, "'")) + svg[at[1]:]
	}
	return strings.ReplaceAll(svg, "#000000", "currentColor")
}

// Len and XY are for the chart library.
func (l Line) Len() int { return len(l.X) }

// XY is the i-th point.
func (l Line) XY(i int) (x, y float64) { return l.X[i], l.Y[i] }
