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

// nodeState is what a server says of itself.
type nodeState struct {
	connection int64
	history    string
	epoch      int64  // of its configuration: of two servers that claim a slot the later has it
	slots      string // as CLUSTER NODES spells them
	healthy    bool   // it finds the cluster whole, and so serves its keys
}

// sameServer reports whether nothing was lost between the two.
func (s nodeState) sameServer(t nodeState) bool {
	return s.connection == t.connection && s.history == t.history
}

// probes are the probes of one server: one on its way and one to follow, which all reads
// share that ask after the first was sent. When nothing is proven every read wants
// a probe, and to send as many would keep the server from answering any.
type probes struct{ now, next *probe }

// probe is one probe.
type probe struct {
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
	return b.sendWith(ctx, s)
}

// DoMulti implements [valkey.CommandClient].
func (s server) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	for i := range cmds {
		cmds[i] = cmds[i].Pin() // see link.DoMulti
	}
	return s.via.runAsync(ctx, len(cmds), func(ctx context.Context) []valkey.ValkeyResult { return s.Client.DoMulti(ctx, cmds...) })
}

// probeTimeout is how long a server may take before it is asked again. An answer
// that comes late proves what it proved when it was asked for.
const probeTimeout = time.Second

// joinProbe waits for a probe of a server that is sent after the call.
func (k *shards) joinProbe(ctx context.Context, address string, client valkey.Client) error {
	t := k.nextProbe(address, client)
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextProbe returns the next probe of a server, begun if it can be.
func (k *shards) nextProbe(address string, client valkey.Client) *probe {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.probes[address]
	if all == nil {
		all = &probes{}
		k.probes[address] = all
	}
	if all.next == nil {
		all.next = &probe{done: make(chan struct{})}
	}
	t := all.next
	if all.now == nil {
		k.beginProbeLocked(all, address, client)
	}
	return t
}

// beginProbeLocked sends the next probe, and when it is answered the one after it.
func (k *shards) beginProbeLocked(all *probes, address string, client valkey.Client) {
	t := all.next
	all.now, all.next = t, nil
	if !k.c.cluster.spawn(func() {
		t.err = recovery.ErrPanicked // unless it returns
		defer k.endProbe(t, all, address, client)
		ctx, cancel := context.WithTimeout(context.Background(), max(probeTimeout, k.c.o.Timeout))
		defer cancel()
		t.err = k.askNode(ctx, address, client)
	}) {
		t.err, all.now = backend.ErrClosed, nil
		close(t.done)
	}
}

// endProbe tells all that share a probe of its end, and begins the next.
func (k *shards) endProbe(t *probe, all *probes, address string, client valkey.Client) {
	close(t.done)
	k.mu.Lock()
	defer k.mu.Unlock()
	if all.now = nil; all.next != nil {
		k.beginProbeLocked(all, address, client)
	}
}

// askNode asks one server. That it is no primary is no error.
func (k *shards) askNode(ctx context.Context, address string, client valkey.Client) error {
	for range maxAsked {
		if usable, err := k.askOnce(ctx, address, client); usable || err != nil {
			return err
		}
	}
	return errServers
}

// askOnce asks one server. What it says proves nothing unless the log knew all that it is to know of that server when it was asked:
//
//	probe:     has the server admitted to the log, which has namespaces change
//	heartbeat: is answered by the server that had the log before, and has not heard of that
//	probe:     proves the server
//	reader:    reads an older value there, and believes it
//
// So the slots are the server's before it is told that others may answer, and a later answer proves it.
func (k *shards) askOnce(ctx context.Context, address string, client valkey.Client) (usable bool, err error) {
	sent, before := mono.Now(), k.c.histories.ask(0)
	b := newBatch()
	b.add("CLIENT", "ID")
	k.c.evalProof(b, scriptProbe)
	results := run(ctx, server{client, k.c.cluster}, b)
	answered := mono.Now()
	said, n, at, err := parseProbe(results[0], results[1])
	if err != nil {
		return false, err
	}
	tell := func() {}
	if usable = true; said.slots != "" {
		// Without a log there is nothing yet that it could have lost.
		of := origin{said.history, n}
		if doubt, ok := k.c.histories.judge(before, of); ok {
			// guard: I6-counters-behind-in-cluster
			k.c.histories.use(before, of)
		} else if logged, err := k.c.admit(ctx, k.c.plain, doubt); err != nil {
			return false, err
		} else if logged {
			// guard: I6-admitted-before-proof
			usable = false
			if tell = k.c.o.Events.Moved; doubt.rolledBack {
				tell = k.c.o.Events.Lost
			}
		}
	}
	k.recordState(address, said, serverclock.Reading{At: at, Asked: sent, Answered: answered}, usable)
	k.c.deliver(tell)
	if !said.healthy && said.slots != "" {
		return false, errUnhealthy
	}
	return usable, nil
}

var errUnhealthy = errors.New("the server is cut off from the cluster")

func parseProbe(id, answer reply) (s nodeState, n counters, at time.Time, err error) {
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
	s.history, s.healthy = fields[1], fields[6] == "ok"
	n = p.counters(fields[4], fields[5])
	if own := strings.Fields(fields[7]); len(own) > 8 && slices.Contains(strings.Split(own[2], ","), "master") {
		s.epoch, s.slots = p.number(own[6]), strings.Join(own[8:], " ")
	}
	return s, n, at, p.err
}
