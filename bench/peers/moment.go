package main

import (
	"context"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/remote"
)

// moment hands the time at which something happened to who waits for it.
type moment struct{ at chan time.Time }

func newMoment() *moment { return &moment{make(chan time.Time, 1)} }

// now is called when it happens; a time that nobody has fetched is replaced.
func (m *moment) now() {
	now := time.Now()
	for {
		select {
		case m.at <- now:
			return
		default:
			m.forget()
		}
	}
}

// forget drops a time that nobody fetched.
func (m *moment) forget() {
	select {
	case <-m.at:
	default:
	}
}

// wait returns when it has happened. After a lost push, nobody tells: then it returns the present, later.
func (m *moment) wait() time.Time {
	select {
	case t := <-m.at:
		return t
	case <-time.After(500 * time.Millisecond):
		return time.Now()
	}
}

// overhearing is a remote tier that tells when a published change has been applied.
type overhearing struct {
	remote.Backend
	told func()
}

func (o overhearing) Connect(ctx context.Context, options remote.Options) (remote.Conn, error) {
	published := options.Events.Published
	options.Events.Published = func(message string) {
		published(message)
		o.told()
	}
	return o.Backend.Connect(ctx, options)
}

// listen calls f for each message of a channel, and returns when the subscription stands.
func listen(p *pitch, channel string, f func()) {
	client := p.valkey()
	ctx, cancel := context.WithCancel(context.Background())
	standing, ended := make(chan struct{}, 1), make(chan struct{})
	hooked := valkey.WithOnSubscriptionHook(ctx, func(valkey.PubSubSubscription) {
		select {
		case standing <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(ended)
		_ = client.Receive(hooked, client.B().Subscribe().Channel(channel).Build(), func(valkey.PubSubMessage) { f() })
	}()
	<-standing
	p.host.Cleanup(func() { cancel(); <-ended })
}
