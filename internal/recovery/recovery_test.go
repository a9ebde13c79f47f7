package recovery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type row struct{ secret string }

func TestAPanicIsCountedLoggedAndMadeGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := New(slog.New(slog.NewTextHandler(&log, nil)))
		made := 0
		for i, v := range []any{row{"hidden"}, "hidden", errors.New("hidden"), func() { _ = []int{}[made] }} {
			func() {
				defer p.Recover("a test", func() { made++; panic("again") }, func() { made++ })
				if f, ok := v.(func()); ok {
					f()
				}
				panic(v)
			}()
			if made != 2*(i+1) || p.Count() != int64(made) {
				t.Fatalf("%d made good, %d counted", made, p.Count())
			}
			time.Sleep(2 * pause)
		}
		text := log.String()
		if strings.Contains(text, "hidden") || strings.Count(text, "\n") != 4 {
			t.Errorf("%s", text)
		}
		for _, want := range []string{"panic=recovery.row", "panic=string", "panic=*errors.errorString", "index out of range", "TestAPanicIsCounted", `in="a test"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in %s", want, text)
			}
		}
		log.Reset()
		for range 100 {
			func() {
				defer p.Recover("a test")
				panic(1)
			}()
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestWhatDoesNotPanicIsLeftAlone(t *testing.T) {
	p := New(slog.New(slog.DiscardHandler))
	never := func() { t.Error("made good") }
	func() { defer p.Recover("a test", never) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer p.Recover("a test", never)
		runtime.Goexit()
	}()
	<-done
	if p.Count() != 0 {
		t.Error(p.Count())
	}
	var none *Panics
	made := false
	func() {
		defer none.Recover("a test", func() { made = true })
		panic(1)
	}()
	if !made {
		t.Error("without a Panics nothing was made good")
	}
}

type wild struct{}

func (wild) Enabled(context.Context, slog.Level) bool  { return true }
func (wild) Handle(context.Context, slog.Record) error { panic("handle") }
func (wild) WithAttrs([]slog.Attr) slog.Handler        { panic("attrs") }
func (wild) WithGroup(string) slog.Handler             { panic("group") }

func TestALoggerThatPanicsEndsNothing(t *testing.T) {
	p := New(slog.New(wild{}))
	l := p.Logger(slog.New(wild{}))
	l.With("a", 1).WithGroup("g").Error("x")
	if p.Count() != 3 {
		t.Error(p.Count())
	}
	func() {
		defer p.Recover("a test")
		panic(1)
	}()
	if p.Count() != 5 {
		t.Error(p.Count())
	}
}
