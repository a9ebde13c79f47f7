package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// standing is what a server says of itself.
type standing struct {
	connection int64
	history    string
	epoch      int64  // of its configuration: of two servers that claim a slot the later has it
	slots      string // as CLUSTER NODES spells them
	whole      bool   // it finds the cluster whole, and so serves its keys
}

// same reports whether nothing was lost between the two.
func (s standing) same(t standing) bool {
	// guard: I2-shard-slots
	return s.connection == t.connection && s.history == t.history && s.slots == t.slots
}

// turns are the probes of one server: one on its way and one to follow, which all reads
// share that ask after the first was sent. When nothing is proven every read wants
// a probe, and to send as many would keep the server from answering any.
type turns struct{ now, next *turn }

// turn is one probe.
type turn struct {
	done chan struct{} // closed when err is set
	err  error
}

// server is a client of one server of the cluster.
type server struct {
	valkey.Client
	via *link
}

// Do implements [valkey.CommandClient].
func (s server) Do(ctx context.Context, cmd valkey.Completed) valkey.ValkeyResult {
	return s.DoMulti(ctx, cmd)[0]
}

func (s server) ask(ctx context.Context, b *batch) []reply {
	return b.by(ctx, s)
}

// DoMulti implements [valkey.CommandClient].
func (s server) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	for i := range cmds {
		cmds[i] = cmds[i].Pin() // see link.DoMulti
	}
	return s.via.runBeside(ctx, len(cmds), func(ctx context.Context) []valkey.ValkeyResult { return s.Client.DoMulti(ctx, cmds...) })
}

// probeTimeout is how long a server may take before it is asked again. An answer
// that comes late proves what it proved when it was asked for.
const probeTimeout = time.Second

// share waits for a probe of a server that is sent after the call.
func (k *shards) share(ctx context.Context, address string, client valkey.Client) error {
	t := k.turn(address, client)
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn returns the next probe of a server, begun if it can be.
func (k *shards) turn(address string, client valkey.Client) *turn {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.turns[address]
	if all == nil {
		all = &turns{}
		k.turns[address] = all
	}
	if all.next == nil {
		all.next = &turn{done: make(chan struct{})}
	}
	t := all.next
	if all.now == nil {
		k.beginLocked(all, address, client)
	}
	return t
}

// beginLocked sends the next probe, and when it is answered the one after it.
func (k *shards) beginLocked(all *turns, address string, client valkey.Client) {
	t := all.next
	all.now, all.next = t, nil
	if !k.c.cluster.spawn(func() {
		t.err = recovery.ErrPanicked // unless it returns
		defer k.ended(t, all, address, client)
		ctx, cancel := context.WithTimeout(context.Background(), max(probeTimeout, k.c.o.Timeout))
		defer cancel()
		t.err = k.probe(ctx, address, client)
	}) {
		t.err, all.now = backend.ErrClosed, nil
		close(t.done)
	}
}

// ended tells all that share a probe of its end, and begins the next.
func (k *shards) ended(t *turn, all *turns, address string, client valkey.Client) {
	close(t.done)
	k.mu.Lock()
	defer k.mu.Unlock()
	if all.now = nil; all.next != nil {
		k.beginLocked(all, address, client)
	}
}

// probe asks one server. That it is no primary is no error.
func (k *shards) probe(ctx context.Context, address string, client valkey.Client) error {
	sent, before := mono.Now(), k.c.histories.ask(0)
	b := newBatch()
	b.add("CLIENT", "ID")
	k.c.evalReadOnly(b, scriptProbe)
	results := run(ctx, server{client, k.c.cluster}, b)
	answered := mono.Now()
	said, n, at, err := parseProbe(results[0], results[1])
	if err != nil {
		return err
	}
	if said.slots != "" {
		// Before what it proves is believed; without a log there is nothing yet that
		// it could have lost.
		of := origin{said.history, n}
		if doubt, ok := k.c.histories.judge(before, of); ok {
			// guard: I6-counters-behind-in-cluster
			k.c.histories.use(before, of)
		} else if logged, err := k.c.admit(ctx, k.c.plain, doubt); err != nil {
			return err
		} else if logged {
			// What is read there from here on is judged by a log that knows:
			//
			//	reader: has heard the log, and not yet what the server's history made change
			//	probe:  proves the server
			//	reader: reads an older value there, and believes it
			k.c.event(k.c.o.Events.Lost)
		}
	}
	k.learn(address, said, serverclock.Reading{At: at, Asked: sent, Answered: answered})
	if !said.whole && said.slots != "" {
		return errNotWhole
	}
	return nil
}

var errNotWhole = errors.New("the server is cut off from the cluster")

func parseProbe(id, answer reply) (s standing, n counters, at time.Time, err error) {
	if s.connection, err = id.number(); err != nil {
		return s, n, at, failure(err)
	}
	fields, err := answer.texts()
	if err != nil {
		return s, n, at, failure(err)
	}
	if len(fields) != 8 {
		return s, n, at, errAnswer
	}
	if fields[0] == "" || fields[1] == "" {
		_, err := primary(fields[0], fields[1])
		return s, n, at, err
	}
	var p parser
	at = time.Unix(p.number(fields[2]), p.number(fields[3])*1000)
	s.history, s.whole = fields[1], fields[6] == "ok"
	n = p.counters(fields[4], fields[5])
	if own := strings.Fields(fields[7]); len(own) > 8 && slices.Contains(strings.Split(own[2], ","), "master") {
		s.epoch, s.slots = p.number(own[6]), strings.Join(own[8:], " ")
	}
	return s, n, at, p.err
}
