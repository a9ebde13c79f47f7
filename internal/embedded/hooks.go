package embedded

import "time"

// Keys returns the keys it holds, change logs included, in no order.
func (e *Remote) Keys() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := e.items.Keys()
	for k := range e.logs {
		keys = append(keys, k)
	}
	return keys
}

// Read returns the bytes stored under a key, as any program could read them.
func (e *Remote) Read(key string) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.getLocked(key)
}

// Put stores bytes under a key without an expiry, as a program other than a store
// could.
func (e *Remote) Put(key, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.setLocked(key, stored{raw: value})
}

// Remove deletes keys, change logs included, as a program other than a store could.
func (e *Remote) Remove(keys ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range keys {
		delete(e.logs, k)
		e.removeLocked(k)
	}
}

// Flush deletes everything, as FLUSHALL does.
func (e *Remote) Flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.logs)
	for _, k := range e.items.Keys() {
		e.items.Remove(k)
	}
	e.evicted = nil
	clear(e.tracked)
	for c := range e.conns {
		if !c.o.NoTracking {
			c.queueLocked(c.o.Events.Lost)
		}
	}
}

// Weigh has each process count as so many when messages are paced: see [changelog.Pace].
func (e *Remote) Weigh(processes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.weight = processes
}

// Withhold has messages of a change log wait for so long, as if many had been published.
func (e *Remote) Withhold(log string, d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.logs[log]; l != nil {
		l.pace.Spend(time.Now(), d)
	}
}

// Disconnect ends and renews every connection, as a restarted proxy would: all tracking
// ends, and Events.Lost is called for every connection.
func (e *Remote) Disconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.tracked)
	for c := range e.conns {
		e.nextID++
		c.id = e.nextID
		c.queueLocked(c.o.Events.Lost)
		c.queueLocked(func() { c.o.Events.Published("") })
	}
}
