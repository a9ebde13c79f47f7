package model

// renew replaces the log of a server by an empty one that begins after known.
func (g *Guards) renew(s *State, v *Server, known Log) {
	inc := max(v.Log.Inc, s.P[0].Know.Inc, s.P[1].Know.Inc, s.Server.Log.Inc, s.Replica.Log.Inc, s.Promoted.Log.Inc)
	if g.NewIncarnation {
		inc++
	}
	v.Log = Log{Inc: inc, Tick: max(v.Log.Tick, known.Tick, s.clock()) + 1, AfterInc: known.Inc, After: known.Tick, Histories: v.History}
}

// clock is the latest tick of any server that is there: the clocks of these agree.
func (s *State) clock() int8 {
	return max(s.Server.Log.Tick, s.Promoted.Log.Tick, s.Clock)
}

// append records a change, and publishes it, unless the message has to wait.
func (g *Guards) append(s *State, p int, source, waits bool) {
	c, v := &s.P[p].Change, s.of(p)
	log := &v.Log
	if log.Inc == 0 || g.AppendKnown && log.Tick < c.From.Tick {
		g.renew(s, v, c.From)
	}
	prev := log.Tick
	log.Tick = max(log.Tick, s.clock()) + 1
	if source {
		log.Source = log.Tick
	} else {
		log.Other = log.Tick
	}
	c.Answer, c.Prev = Log{Inc: log.Inc, Tick: log.Tick}, prev
	if s.Left.Paced {
		c.Missed = Message{}
		if c.From.Inc == log.Inc && c.From.Tick < prev {
			c.Missed = log.since(c.From.Tick)
			c.Missed.Several = true
		}
		if log.Published == 0 { // it has begun
			log.Published = prev
		}
		prev = log.Published
	}
	if !waits {
		s.publish(v, prev, 1-p)
	}
}

// since is a message of what changed after a position.
func (known *Log) since(prev int8) Message {
	m := Message{Inc: known.Inc, Prev: prev, Tick: known.Tick}
	if known.Source > prev {
		m.Source = known.Source
	}
	if known.Other > prev {
		m.Other = known.Other
	}
	return m
}

// publish sends processes that are on a server what changed after prev. (The one that has recorded the latest change
// needs no message of that.)
func (s *State) publish(v *Server, prev int8, to ...int) {
	for _, i := range to {
		// A message that is on its way may be lost so.
		if s.of(i) == v {
			s.P[i].Message = v.Log.since(prev)
			s.P[i].Message.Several = s.Left.Paced
		}
	}
	if s.Left.Paced {
		v.Log.Published = v.Log.Tick
	}
}

// declare has the log know that keys are set.
func (v *Server) declare() {
	if v.Log.Inc != 0 {
		v.Log.Written = true
	}
}

// admit has the log know the history of its server. All that was set changes with
// that: the server may have lost some of it.
func (v *Server) admit() {
	log := &v.Log
	if log.Inc == 0 || log.Histories&v.History != 0 {
		return
	}
	log.Histories |= v.History
	if log.Written {
		log.Tick++
		log.Source = log.Tick
	}
}

// setBack has all that was set change, since the server was set back and may have
// lost some of it.
func (v *Server) setBack() {
	if log := &v.Log; log.Inc != 0 && log.Written {
		log.Tick++
		log.Source = log.Tick
	}
}

// changed tells the processes that track the key of v that it changed.
func (s *State) changed(v *Server) {
	for i := range s.P {
		if v.Tracked[i] {
			v.Tracked[i] = false
			s.P[i].Invalidation++
		}
	}
}
