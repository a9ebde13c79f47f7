package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/tier"
)

// Fleet is some processes: whole stores of package tier on one in-process remote.
type Fleet struct {
	Processes    int
	LocalEntries int           // of each
	RemoteBytes  int64         // 0: room for all
	TTL          time.Duration // of all namespaces; 0: each its own
}

// Cause says why a process did not have a value that was asked for.
type Cause string

// The causes of a local miss.
const (
	FirstUse     Cause = "cold"       // this process never had it
	Capacity     Cause = "capacity"   // evicted for want of room
	Outlived     Cause = "expired"    // its TTL had passed
	Source       Cause = "source"     // a document it was made from was edited
	Reindexing   Cause = "namespace"  // its namespace was invalidated
	Version      Cause = "version"    // the store's version was bumped
	Disconnected Cause = "disconnect" // dropped or not believed after the connection was cut
)

// Causes are all causes, in the order in which they are shown.
var Causes = []Cause{FirstUse, Capacity, Outlived, Source, Reindexing, Version, Disconnected}

// Report is what came of a simulation.
type Report struct {
	Reads, LocalHits, RemoteHits, Loads int64

	Bytes, LocalBytes int64 // of the values asked for, and of those that the local tier had
	Misses            map[Cause]int64
	Evictions         int64
}

// LocalRate and the others are in percent of the reads, or per 1,000 of them.
func (r Report) LocalRate() float64 { return percent(r.LocalHits, r.Reads) }

// LocalByteRate is in percent of the bytes asked for.
func (r Report) LocalByteRate() float64 { return percent(r.LocalBytes, r.Bytes) }

// RemoteRate is what the remote tier answered, in percent of the reads that reached it.
func (r Report) RemoteRate() float64 { return percent(r.RemoteHits, r.Reads-r.LocalHits) }

// LoadsPerThousand are the runs of a loader for 1,000 reads.
func (r Report) LoadsPerThousand() float64 { return 10 * percent(r.Loads, r.Reads) }

// RemoteReadsPerThousand are the reads that the local tier could not answer, of 1,000.
func (r Report) RemoteReadsPerThousand() float64 { return 10 * percent(r.Reads-r.LocalHits, r.Reads) }

// Costs are what the ways to a value take.
type Costs struct{ Local, Remote, Load time.Duration }

// MeasuredCosts are the medians of bench/README.md for a local and a remote hit, one at a time. What a load takes is
// the user's to say: 50 ms is a guess, a query or two.
var MeasuredCosts = Costs{Local: 100 * time.Nanosecond, Remote: 100 * time.Microsecond, Load: 50 * time.Millisecond}

// Saved estimates the latency saved for each read, on average, against loading every time.
func (r Report) Saved(c Costs) time.Duration {
	if r.Reads == 0 {
		return 0
	}
	spent := time.Duration(r.LocalHits)*c.Local + time.Duration(r.Reads-r.LocalHits)*c.Remote + time.Duration(r.Loads)*c.Load
	return c.Load - spent/time.Duration(r.Reads)
}

// Metric is a figure of a report, with its unit as benchmarks print it.
type Metric struct {
	Unit  string
	Value float64
}

// Metrics are all figures of a report. "saved-ms" is the latency saved for each read by these costs.
func (r Report) Metrics(c Costs) []Metric {
	all := []Metric{
		{"local-hit-%", r.LocalRate()}, {"local-byte-hit-%", r.LocalByteRate()}, {"remote-hit-%", r.RemoteRate()},
		{"loads/1000", r.LoadsPerThousand()}, {"remote-reads/1000", r.RemoteReadsPerThousand()},
		{"evictions/1000", 10 * percent(r.Evictions, r.Reads)},
		{"saved-ms", float64(r.Saved(c)) / float64(time.Millisecond)},
	}
	for _, cause := range Causes {
		all = append(all, Metric{string(cause) + "/1000", 10 * percent(r.Misses[cause], r.Reads)})
	}
	return all
}

// Simulate asks so many questions, one after the other. It must run in a bubble of testing/synctest, where time is
// fake; elsewhere it takes as long as the workload lasts.
func (f Fleet) Simulate(d Documents, seed uint64, questions int) (Report, error) {
	if f.Processes < 1 {
		return Report{}, fmt.Errorf("bench: a fleet of %d processes", f.Processes)
	}
	s := &simulation{books: newBooks(d), report: Report{Misses: make(map[Cause]int64)}}
	err := s.open(f)
	if err == nil {
		err = s.run(d.Events(seed, questions))
	}
	return s.report, errors.Join(err, s.close())
}

type simulation struct {
	embedded  *embedded.Remote
	processes []*process
	books     *books
	report    Report
}

type process struct {
	store  *tier.Store
	caches []*tier.Cache[answer] // by namespace
}

// answer is what questions are answered with: a size is all that matters here.
type answer struct {
	Text  string
	Bytes int64
}

func (s *simulation) open(f Fleet) error {
	s.embedded = embedded.New(cmp.Or(f.RemoteBytes, 1<<40))
	for range f.Processes {
		store, err := tier.Open(context.Background(), tier.WithRemote(s.embedded),
			tier.WithLocalBytes(0), tier.WithLocalEntries(f.LocalEntries),
			tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
		if err != nil {
			return err
		}
		p := &process{store: store}
		s.processes = append(s.processes, p)
		for _, ns := range Namespaces {
			c, err := tier.New[answer](store, ns.Path, tier.WithTTL(cmp.Or(f.TTL, ns.TTL)))
			if err != nil {
				return err
			}
			p.caches = append(p.caches, c)
		}
	}
	return nil
}

func (s *simulation) close() error {
	var errs []error
	for _, p := range s.processes {
		s.report.Evictions += p.store.Stats().LocalEvictions
		errs = append(errs, p.store.Close())
	}
	return errors.Join(errs...)
}

func (s *simulation) run(events func(func(Event) bool)) error {
	ctx, began := context.Background(), time.Now()
	for e := range events {
		if wait := e.At - time.Since(began); wait > 0 {
			time.Sleep(wait) // fake
		}
		if err := s.apply(ctx, e); err != nil {
			return fmt.Errorf("after %v: %w", e.At, err)
		}
	}
	return nil
}

func (s *simulation) apply(ctx context.Context, e Event) (err error) {
	which := int(e.Who * float64(len(s.processes)))
	p := s.processes[which]
	switch e.Kind {
	case Ask:
		return s.ask(ctx, which, e.Index)
	case Edit:
		s.books.edited[e.Index] = time.Now()
		_, err = p.store.InvalidateSource(ctx, documentID(e.Index))
	case Reindexed:
		s.books.reindexed[e.Index] = time.Now()
		_, err = p.store.InvalidateNamespace(ctx, Namespaces[e.Index].Path)
	case Bumped:
		s.books.bumped = time.Now()
		_, err = p.store.InvalidateAll(ctx)
	case CutOff:
		s.books.cut = time.Now()
		s.embedded.Disconnect()
	}
	return err
}

func documentID(i int) string { return "doc-" + strconv.Itoa(i) }

func (s *simulation) ask(ctx context.Context, which, question int) error {
	p, ns := s.processes[which], question%len(Namespaces)
	result, err := p.caches[ns].Lookup(ctx, Question(question), func(_ context.Context, e *tier.Entry) (answer, error) {
		for _, i := range s.books.sources(question) {
			e.DependsOn(documentID(i))
		}
		return answer{Bytes: answerBytes(question)}, nil
	})
	if err != nil {
		return err
	}
	r := &s.report
	r.Reads++
	r.Bytes += result.Value.Bytes
	switch result.Origin {
	case tier.Local:
		r.LocalHits++
		r.LocalBytes += result.Value.Bytes
		return nil
	case tier.Remote:
		r.RemoteHits++
	case tier.Loaded:
		r.Loads++
	}
	r.Misses[s.books.why(which, question)]++
	s.books.filled(which, question, time.Now().Add(result.TTL))
	return nil
}

// answerBytes are from 0.5 to 16 KB, in powers of two.
func answerBytes(question int) int64 { return 512 << (KeyNumber(question).Lo % 6) }
