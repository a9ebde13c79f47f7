package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/invalidation"
)

// explanation says what the remote tier holds for a key, and whether it is believed.
type explanation struct {
	Namespace string `json:"namespace,omitempty"`
	Key       string `json:"key,omitempty"`
	RemoteKey string `json:"remoteKey"`
	Present   bool   `json:"present"`
	// Valid: a read would be answered with it, if it asks for the value's type.
	Valid     bool         `json:"valid"`
	Why       string       `json:"why,omitempty"`
	Changed   string       `json:"changed,omitempty"`
	ChangedAt *time.Time   `json:"changedAt,omitempty"`
	Tick      int64        `json:"changedAtTick,omitempty"`
	Stale     bool         `json:"stale,omitempty"` // past its TTL, within its stale time
	Negative  bool         `json:"negative,omitempty"`
	AsOf      string       `json:"asOf,omitempty"`
	AsOfTime  *time.Time   `json:"asOfTime,omitempty"`
	Written   *time.Time   `json:"written,omitempty"`
	Expires   *time.Time   `json:"expires,omitempty"`
	Age       milliseconds `json:"ageMs,omitempty"`
	TTL       milliseconds `json:"ttlMs,omitempty"`
	Bytes     int          `json:"bytes,omitempty"` // of the entry as it is stored
	Depends   []dependency `json:"dependsOn,omitempty"`
	// Leased: a process is loading the key, or was until it ended without releasing it.
	Leased    bool         `json:"leased"`
	LeaseLeft milliseconds `json:"leaseLeftMs,omitempty"`
}

// dependency is a scope that the entry depends on.
type dependency struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Changed is when the log has that it changed last; nil: not since Floor, or never.
	Changed *time.Time `json:"changed,omitempty"`
	Tick    int64      `json:"tick,omitempty"`
	Ended   bool       `json:"ended"` // that change is later than the entry
}

func (c *command) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain NAMESPACE KEY | NAME",
		Short: "what is stored for a key, whether it is believed, and which change ended it",
		Long: `explain reads a key's entry and the change log, and changes nothing. NAME is what the server calls an entry, as SCAN or
MONITOR show it: PREFIX:d:NAMESPACE:{...}.

A process's own local copy is judged by the same changes, but only the process can tell whether it has one: its
Cache.Explain does. Whether a value is of the type that a reader wants is known to the reader alone.

A stored value's bytes are not shown. Its key, namespace and sources are.`,
		Example: "  tierctl explain docs:technical 'How do I shut down a server?'",
		Args:    arguments(1, 2, "a namespace and a key, or the server's name of an entry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := c.named(args)
			if err != nil {
				return err
			}
			s, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.explain(cmd.Context(), e); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(e)
			}
			return c.printExplanation(e)
		},
	}
}

// named is an explanation of what the arguments name.
func (c *command) named(args []string) (*explanation, error) {
	prefix := c.connection.prefix
	if len(args) == 2 {
		if args[0] == "" || args[1] == "" {
			return nil, usagef("neither a namespace nor a key is empty")
		}
		return &explanation{Namespace: args[0], Key: args[1], RemoteKey: entryName(prefix, args[0], args[1])}, nil
	}
	namespace, _, ok := parseName(prefix, args[0])
	if !ok {
		return nil, usagef("%q alone is no name of an entry of prefix %q: want a namespace and a key, or the server's name of an entry, as %s:d:NAMESPACE:{…}", args[0], prefix, prefix)
	}
	return &explanation{Namespace: namespace, RemoteKey: strings.TrimSuffix(args[0], leaseSuffix)}, nil
}

// explain reads what is stored under e.RemoteKey.
func (s *server) explain(ctx context.Context, e *explanation) error {
	rctx, cancel := s.ask(ctx)
	defer cancel()
	k, lease := e.RemoteKey, e.RemoteKey+leaseSuffix
	answers := s.DoMulti(rctx,
		s.B().Get().Key(k).Build(),
		s.B().Eval().Script("return redis.call('TIME')").Numkeys(1).Key(k).Build(),
		s.B().Pttl().Key(lease).Build())
	raw, err := answers[0].ToString()
	switch {
	case valkey.IsValkeyNil(err):
	case isWrongType(err):
		e.Present, e.Why = true, "damaged: it is no string"
	case err != nil:
		return fmt.Errorf("reading the entry: %w", err)
	default:
		e.Present = true
	}
	t, err := answers[1].AsIntSlice()
	if err != nil || len(t) != 2 {
		return fmt.Errorf("reading the server's time: %w", err)
	}
	now := time.Unix(t[0], t[1]*1000)
	if left, err := answers[2].AsInt64(); err == nil && left != -2 {
		e.Leased, e.LeaseLeft = true, milliseconds(max(left, 0))*milliseconds(time.Millisecond)
	}
	if !e.Present || e.Why != "" {
		return nil
	}
	return s.judge(ctx, e, raw, now)
}

func isWrongType(err error) bool {
	e, ok := valkey.IsValkeyErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE")
}

// judge says whether an entry is believed: rule R1 of docs/rules.md, and its TTL.
func (s *server) judge(ctx context.Context, e *explanation, raw string, now time.Time) error {
	e.Bytes = len(raw)
	stored, err := decodeEntry(raw)
	if err != nil {
		e.Why = err.Error()
		return nil
	}
	other := stored.Namespace != e.Namespace || e.Key != "" && stored.Key != e.Key
	if e.Key == "" {
		e.Key = stored.Key
	}
	written, expires, asOf := stored.Expires.Add(-stored.Life).UTC(), stored.Expires.UTC(), timeOf(int64(stored.AsOf.Tick))
	e.Negative, e.AsOf, e.AsOfTime = stored.Negative, stored.AsOf.String(), &asOf
	e.Written, e.Expires = &written, &expires
	e.Age, e.TTL = milliseconds(now.Sub(written)), milliseconds(written.Add(stored.Fresh).Sub(now))
	log, err := s.readLog(ctx)
	if err != nil {
		return err
	}
	if err := s.depends(ctx, e, &stored); err != nil {
		return err
	}
	switch {
	case other:
		e.Why = "it is the entry of another key of the same hash"
	case log.Incarnation == 0:
		e.Why, e.Changed = "there is no change log by which it could be judged", "everything"
	case log.Least > readersFormat:
		e.Why = fmt.Sprintf("the change log needs a reader of format %d, and this program reads %d", log.Least, readersFormat)
	case stored.AsOf.Incarnation != log.Incarnation:
		e.Why, e.Changed = "the change log was lost since and begun anew", "everything"
	case int64(stored.AsOf.Tick) < log.Floor:
		e.end("everything", log.Floor)
	default:
		for _, d := range e.Depends {
			if d.Ended && d.Tick > e.Tick {
				e.end(d.Kind+" "+d.Name, d.Tick)
			}
		}
	}
	switch {
	case e.Why != "":
	case !now.Before(stored.Expires):
		e.Why = "its life is over"
	case e.TTL <= 0:
		e.Stale, e.Why = true, "its TTL has passed; views with stale time may serve it while they load it again"
	default:
		e.Valid = true
	}
	return nil
}

func (e *explanation) end(changed string, tick int64) {
	at := timeOf(tick)
	e.Changed, e.ChangedAt, e.Tick, e.Why = changed, &at, tick, changed+" changed"
}

// depends reads when each scope that the entry depends on changed last.
func (s *server) depends(ctx context.Context, e *explanation, stored *envelope.Entry) error {
	var scopes []invalidation.Scope
	for _, path := range above(stored.Namespace) {
		scopes = append(scopes, invalidation.Namespace(path))
		e.Depends = append(e.Depends, dependency{Kind: "namespace", Name: path})
	}
	for _, id := range stored.Sources {
		scopes = append(scopes, invalidation.Source(id))
		e.Depends = append(e.Depends, dependency{Kind: "source", Name: id})
	}
	ctx, cancel := s.ask(ctx)
	defer cancel()
	cmds := make([]valkey.Completed, len(scopes))
	for i, scope := range scopes {
		cmds[i] = s.B().Zscore().Key(s.logKey()).Member(string(scope)).Build()
	}
	for i, answer := range s.DoMulti(ctx, cmds...) {
		score, err := answer.AsFloat64()
		if valkey.IsValkeyNil(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading the change log: %w", err)
		}
		d := &e.Depends[i]
		d.Tick = tickOf(score)
		at := timeOf(d.Tick)
		d.Changed, d.Ended = &at, d.Tick > int64(stored.AsOf.Tick)
	}
	return nil
}

func (c *command) printExplanation(e *explanation) error {
	good, bad, bold := c.paint(color.FgGreen), c.paint(color.FgRed), c.paint(color.Bold)
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "key\t%s\n", bold(printable(e.Namespace)+" / "+printable(shorten(e.Key))))
	fmt.Fprintf(t, "in the server\t%s\n", printable(e.RemoteKey))
	switch {
	case !e.Present:
		fmt.Fprintf(t, "stored\tnothing: the next read loads it\n")
	case e.Valid:
		fmt.Fprintf(t, "stored\t%s\n", good("valid"))
	default:
		fmt.Fprintf(t, "stored\t%s\n", bad("not valid: "+e.why()))
	}
	if e.Written != nil {
		fmt.Fprintf(t, "as of\t%s (%s)\n", e.AsOfTime.Format(timeFormat), e.AsOf)
		fmt.Fprintf(t, "written\t%s, %v ago\n", e.Written.Format(timeFormat), round(time.Duration(e.Age)))
		fmt.Fprintf(t, "TTL\t%s\n", left(time.Duration(e.TTL)))
		what := "a value"
		if e.Negative {
			what = "that there is no value (ErrNotFound)"
		}
		fmt.Fprintf(t, "holds\t%s, %d bytes in all\n", what, e.Bytes)
	}
	if e.Leased {
		fmt.Fprintf(t, "lease\theld for another %v: a process is loading it\n", round(time.Duration(e.LeaseLeft)))
	} else {
		fmt.Fprintf(t, "lease\tfree\n")
	}
	if err := t.Flush(); err != nil || len(e.Depends) == 0 {
		return err
	}
	fmt.Fprintf(c.out, "\nit depends on, with its latest change:\n")
	t = tabwriter.NewWriter(c.out, 2, 0, 2, ' ', 0)
	for _, d := range e.Depends {
		at := "not since the log's floor"
		if d.Changed != nil {
			at = d.Changed.Format(timeFormat)
		}
		if d.Ended {
			at += "  " + bad("after the entry")
		}
		fmt.Fprintf(t, "  %s %s\t%s\n", d.Kind, printable(shorten(d.Name)), at)
	}
	return t.Flush()
}

func (e *explanation) why() string {
	why := printable(e.Why)
	if e.ChangedAt != nil {
		why += " at " + e.ChangedAt.Format(timeFormat)
	}
	return why
}

// shorten cuts a long name.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + fmt.Sprintf("… (%d bytes)", len(s))
}

func left(d time.Duration) string {
	if d <= 0 {
		return fmt.Sprintf("passed %v ago", round(-d))
	}
	return fmt.Sprintf("%v left", round(d))
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Hour:
		return d.Round(time.Minute)
	case d > time.Minute:
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}
