package model

// renew replaces a log by an empty one that begins after known.
func (g *Guards) renew(s *State, known int8) {
	log := &s.Server.Log
	inc := max(log.Inc, s.P[0].Know.Inc, s.P[1].Know.Inc, s.Replica.Log.Inc)
	if g.NewIncarnation {
		inc++
	}
	*log = Log{Inc: inc, Tick: max(log.Tick, known) + 1}
}

// append records a change, and publishes it.
func (g *Guards) append(s *State, p int, source bool) {
	c := &s.P[p].Change
	log := &s.Server.Log
	if log.Inc == 0 || g.AppendKnown && log.Tick < c.From.Tick {
		g.renew(s, c.From.Tick)
	}
	prev := log.Tick
	log.Tick++
	if source {
		log.Source = log.Tick
	} else {
		log.Other = log.Tick
	}
	c.Answer, c.Prev = Log{Inc: log.Inc, Tick: log.Tick}, prev
	s.P[1-p].Message = Message{log.Inc, prev, log.Tick, source} // one before it may be lost so
}

// changed tells who tracks the key that it changed.
func (s *State) changed() {
	for i := range s.P {
		if s.Server.Tracked[i] {
			s.Server.Tracked[i] = false
			s.P[i].Notice = true
		}
	}
}
