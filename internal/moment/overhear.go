package moment

import (
	"context"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
)

// Overhear returns a backend whose stores have m happen whenever they have
// applied a published change.
func Overhear(b backend.Backend, m *Moment) backend.Backend { return overhearing{b, m} }

type overhearing struct {
	backend.Backend
	m *Moment
}

func (o overhearing) Connect(ctx context.Context, options backend.Options) (backend.Conn, error) {
	published := options.Events.Published
	options.Events.Published = func(message string) {
		published(message)
		o.m.Now()
	}
	return o.Backend.Connect(ctx, options)
}

// Listen has m happen at each message of a channel. It returns when the
// subscription stands; stop ends it.
func Listen(client valkey.Client, channel string, m *Moment) (stop func()) {
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
		_ = client.Receive(hooked, client.B().Subscribe().Channel(channel).Build(), func(valkey.PubSubMessage) { m.Now() })
	}()
	<-standing
	return func() { cancel(); <-ended }
}
