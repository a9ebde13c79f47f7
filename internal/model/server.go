package model

// renew replaces the log of a server by an empty one that begins after known.
func (g *Guards) renew(s *State, v *Server, known Log) {
	inc := max(v.Log.Inc, s.P[0].Know.Inc, s.P[1].Know.Inc, s.Server.Log.Inc, s.Replica.Log.Inc, s.Promoted.Log.Inc)
	if g.NewIncarnation {
		inc++
	}
	v.Log = Log{Inc: inc, Tick: max(v.Log.Tick, known.Tick, s.clock()) + 1, AfterInc: known.Inc, After: known.Tick, Histories: v.History}
}

// clock is the latest tick of any server: their clocks agree.
func (s *State) clock() int8 {
	return max(s.Server.Log.Tick, s.Promoted.Log.Tick)
}

// append records a change, and publishes it.
func (g *Guards) append(s *State, p int, source bool) {
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
	if s.of(1-p) == v {
		s.P[1-p].Message = Message{log.Inc, prev, log.Tick, source} // one before it may be lost so
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
			s.P[i].Notice++
		}
	}
}
