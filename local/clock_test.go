package local

import "testing"

func newClock(exact bool) *clock {
	c := new(clock)
	c.init(4, exact)
	return c
}

func isDue(c *clock, used uint64) bool {
	_, due := c.shouldRecord(used)
	return due
}

func TestAnExactClockRecordsEveryUse(t *testing.T) {
	c := newClock(true)
	c.oldestAges[0].Store(1)
	for range 100 {
		now := c.advance(5000)
		if !isDue(c, now) {
			t.Fatal("skipped")
		}
	}
}

// TestUsesOfTheNewestAreSkipped with the oldest entry used at time 100.
func TestUsesOfTheNewestAreSkipped(t *testing.T) {
	c := newClock(false)
	c.oldestAges[2].Store(100)
	for range 4100 {
		c.advance(1 << 20)
	}
	now := c.now.Load()
	if now < 4100-4000/8/16 || now > 4100 {
		t.Errorf("now is %d, ticks 4100", now)
	}
	if w := c.window.Load(); w < 450 || w > 500 {
		t.Errorf("window is %d, want an eighth of 4000 at most", w)
	}
	if isDue(c, 4100-400) || !isDue(c, 4100-600) {
		t.Error("wrong uses are skipped")
	}
	if isDue(c, 4100) {
		t.Error("an entry stored after the time readers see is due") // 4100 > now must not wrap around
	}
}

// TestAnOldEntryInACacheThatIsNotFull must not stretch the window: nothing is evicted, so its age means nothing.
func TestAnOldEntryInACacheThatIsNotFull(t *testing.T) {
	c := newClock(false)
	c.oldestAges[0].Store(1)
	for range 100_000 {
		c.advance(2000)
	}
	if w := c.window.Load(); w > 2000/8 {
		t.Errorf("window is %d in a cache of 2000", w)
	}
}

// TestAClearedCacheHasANarrowWindowAtOnce although it was wide.
func TestAClearedCacheHasANarrowWindowAtOnce(t *testing.T) {
	c := newClock(false)
	c.oldestAges[0].Store(1)
	for range 100_000 {
		c.advance(100_000)
	}
	if now := c.advance(1); !isDue(c, now) {
		t.Error("a use was skipped")
	}
}

func TestContendedReadersRecordOncePerStore(t *testing.T) {
	c := newClock(true)
	now := c.advance(10)
	c.contended()
	if isDue(c, now) {
		t.Error("recorded again")
	}
	if !isDue(c, now-1) {
		t.Error("an older entry is not recorded")
	}
	if now = c.advance(10); !isDue(c, now) {
		t.Error("still inexact after the next store")
	}
}

func TestContentionDoesNotNarrowALargeWindow(t *testing.T) {
	c := newClock(false)
	c.window.Store(100)
	c.contended()
	if w := c.window.Load(); w != 100 {
		t.Error(w)
	}
}

func TestTheLowestBidIsTheOldest(t *testing.T) {
	c := newClock(false)
	if _, age := c.oldest(); age != noAge {
		t.Errorf("age %d of empty shards", age)
	}
	c.oldestAges[1].Store(7)
	c.oldestAges[3].Store(5)
	if i, age := c.oldest(); i != 3 || age != 5 {
		t.Errorf("shard %d with %d", i, age)
	}
}
