// Reconnect draws what a lost connection does to local hits, from the curves of make reconnect:
//
//	go run ./reconnect -o ../docs/images/reconnect.svg name=curve.csv...
//
// The lines are drawn in their order, each under its name.
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/tiercache/tiercache/bench/report"
)

func main() {
	out := flag.String("o", "reconnect.svg", "where the picture goes")
	flag.Parse()
	if err := draw(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "reconnect:", err)
		os.Exit(1)
	}
}

func draw(out string, curves []string) error {
	chart := report.Chart{Title: "Local hits after a lost connection", X: "seconds since it was lost", Y: "local hits, % of reads", YMax: 100}
	for i, arg := range curves {
		name, file, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not name=curve.csv", arg)
		}
		line, err := read(file)
		if err != nil {
			return err
		}
		line.Name, line.Style = name, i
		chart.Lines = append(chart.Lines, line)
	}
	return chart.WriteFile(out)
}

// read reads the seconds before and after the loss that the picture shows.
func read(file string) (l report.Line, err error) {
	f, err := os.Open(file)
	if err != nil {
		return l, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return l, fmt.Errorf("%s: %w", file, err)
	}
	for _, row := range rows {
		x, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			return l, fmt.Errorf("%s: %w", file, err)
		}
		y, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return l, fmt.Errorf("%s: %w", file, err)
		}
		if x >= -0.5 && x <= 3 {
			l.X, l.Y = append(l.X, x), append(l.Y, y)
		}
	}
	return l, nil
}
