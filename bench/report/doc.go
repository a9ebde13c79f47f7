// Package report makes a page of pictures from simulations: it draws charts as SVG and writes one HTML file that needs
// nothing else, on screen or paper, light or dark.
//
// It promises that a chart has a title, that its axes have names and units, and that its lines differ by colour and by
// dash and are named in the order of their heights. What the simulations mean is told by package bench. Run them with
// `make report`; they live in this package's test, because fake time does.
package report
