// Package fleet is how processes tell of themselves, for operators: each store that opts in writes one small report every ten seconds
// under one of a fixed number of names, so that all can be read without a search of the server's keys.
package fleet

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// Slots is how many names there are, and so the number of processes that can report at a time.
	Slots = 512
	// MaxReport is the longest report, in bytes.
	MaxReport = 1024
	// Every is how often a process reports, and Lasts for how long a report is kept.
	Every = 10 * time.Second
	Lasts = 35 * time.Second
)

// Key returns the name of a slot.
func Key(prefix string, slot int) string { return prefix + ":r:{" + strconv.Itoa(slot) + "}" }

// Report is what a process tells of itself.
type Report struct {
	Version int    `json:"v"`  // 1
	ID      string `json:"id"` // random, of the store
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	// At is when it was written, and Opened when the store was, by the server's clock.
	At     time.Time `json:"at"`
	Opened time.Time `json:"opened"`
	// Mode is how it is connected. Lag is the age of what it knows of changes; while it exceeds MaxStaleness no local copies are served,
	// unless the store is Idle and proves them with its next read.
	Mode           string `json:"mode"`
	LagMs          int64  `json:"lagMs"`
	MaxStalenessMs int64  `json:"maxStalenessMs"`
	Idle           bool   `json:"idle,omitempty"`
	Away           bool   `json:"away,omitempty"` // the remote tier is, for it
	Pending        int    `json:"pending,omitempty"`
	// Reads, Local, Remote and Loads are events a second since the report before.
	Reads   float64 `json:"reads"`
	Local   float64 `json:"local"`
	Remote  float64 `json:"remote"`
	Loads   float64 `json:"loads"`
	Entries int     `json:"entries"`
	Bytes   int64   `json:"bytes"`
	// Top are the keys that it reads most.
	Top []Hot `json:"top,omitempty"`
}

// Lag is LagMs as people read it.
func (r *Report) Lag() string {
	if day := (24 * time.Hour).Milliseconds(); r.LagMs < 0 || r.LagMs > day { // it has no proof at all, as in an outage
		return "unknown"
	}
	return (time.Duration(r.LagMs) * time.Millisecond).String()
}

// Trouble says in a few words what does not work for the process, or nothing.
func (r *Report) Trouble() string {
	switch {
	case r.Away:
		return "the remote tier is away"
	case r.Pending > 0:
		return "changes are not recorded yet"
	case r.LagMs > r.MaxStalenessMs && !r.Idle:
		return "no local copies are served"
	}
	return ""
}

// Hot is a key that is read much. Of the key there is only the hash, as in the server's name of its entry.
type Hot struct {
	Namespace string  `json:"n"`
	Hash      string  `json:"h"` // in base64, as it stands between the braces
	PerSecond float64 `json:"r"`
}

// The longest texts of a report, in bytes.
const (
	mostHost      = 64
	mostMode      = 80
	mostNamespace = 64
)

// Encode returns the report, with as many of the hottest keys as there is room for.
func (r Report) Encode() []byte {
	r.Version = 1
	r.Host, r.Mode = cut(r.Host, mostHost), cut(r.Mode, mostMode)
	r.Top = slices.Clone(r.Top)
	r.Top = slices.DeleteFunc(r.Top, func(h Hot) bool { return len(h.Namespace) > mostNamespace || !utf8.ValidString(h.Namespace) })
	for _, f := range []*float64{&r.Reads, &r.Local, &r.Remote, &r.Loads} {
		*f = round(*f)
	}
	for i := range r.Top {
		r.Top[i].PerSecond = round(r.Top[i].PerSecond)
	}
	for {
		b, err := json.Marshal(r)
		if err == nil && len(b) <= MaxReport {
			return b
		}
		if len(r.Top) == 0 { // texts that JSON spells much longer
			return nil
		}
		r.Top = r.Top[:len(r.Top)-1]
	}
}

// round keeps three digits or so.
func round(f float64) float64 {
	s, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 3, 64), 64)
	if err != nil {
		return 0
	}
	return s
}

func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > most {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

var errReport = errors.New("it is no report")

// Parse reads a report, which any program may have written.
func Parse(raw string) (Report, error) {
	var r Report
	if len(raw) > MaxReport {
		return r, errReport
	}
	if err := json.Unmarshal([]byte(raw), &r); err != nil || r.Version != 1 || r.ID == "" || len(r.Top) > 100 {
		return Report{}, errReport
	}
	return r, nil
}

// Top sums the hottest keys of all reports.
func Top(reports []Report) []Total {
	type key struct{ namespace, hash string }
	totals := make(map[key]*Total)
	for _, r := range reports {
		for _, h := range r.Top {
			k := key{h.Namespace, h.Hash}
			if totals[k] == nil {
				totals[k] = &Total{Hot: Hot{Namespace: h.Namespace, Hash: h.Hash}}
			}
			totals[k].PerSecond += h.PerSecond
			totals[k].Processes++
		}
	}
	all := make([]Total, 0, len(totals))
	for _, t := range totals {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Total) int {
		switch {
		case a.PerSecond > b.PerSecond:
			return -1
		case a.PerSecond < b.PerSecond:
			return 1
		}
		return strings.Compare(a.Namespace+a.Hash, b.Namespace+b.Hash)
	})
	return all
}

// Total is a key of several processes.
type Total struct {
	Hot
	Processes int
}
