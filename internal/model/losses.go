package model

// losses are what the world does to servers, networks and time.
func (g *Guards) losses(s *State, next func(string, State)) {
	happens := func(left *int8, what string, f func(s *State)) {
		if *left > 0 {
			*left--
			c := *s
			*left++
			f(&c)
			next(what, c)
		}
	}
	for i := range s.P {
		happens(&s.Left.Disconnects[i], names[i]+" loses its connection", func(s *State) { g.disconnect(s, i) })
	}
	happens(&s.Left.LogLosses, "the log is deleted, in a split that of the promoted server", func(s *State) {
		if s.Split {
			s.Promoted.Log = Log{}
		} else {
			s.Server.Log = Log{}
		}
	})
	happens(&s.Left.Splits, "the replica is promoted beside the primary, B goes there", func(s *State) { g.split(s) })
	if s.Split && !s.P[a].Moved {
		then(s, a, "goes there too", next, func(s *State, p *Process) {
			g.disconnect(s, a)
			p.Moved = true
		})
	}
	if s.Server.Lease != 0 {
		happens(&s.Left.Expiries, "the lease expires", func(s *State) { s.Server.Lease = 0 })
	}
	if s.Left.Failovers+s.Left.Splits > 0 && s.Replica != replicated(s.Server) {
		c := *s
		c.Replica = replicated(s.Server)
		next("the replica catches up", c)
	}
	happens(&s.Left.Failovers, "the primary dies, the replica is promoted", func(s *State) { g.failover(s) })
	happens(&s.Left.Steps, "time passes", func(s *State) { s.age() })
}

// replicated is what a replica has of a server: no connections.
func replicated(s Server) Server {
	s.Tracked = [2]bool{}
	return s
}

func (g *Guards) failover(s *State) {
	// The change that A was told of, and the new server was not.
	s.Lost = s.Acked[s.P[a].Own] > 0 && s.Replica.Log.Source < s.Server.Log.Source
	if s.Lost {
		s.Acked[s.P[a].Own] = 0
	}
	s.Server = s.Replica
	s.Server.History <<= 1
	g.disconnect(s, a)
	g.disconnect(s, b)
}

func (g *Guards) split(s *State) {
	g.disconnect(s, b)
	s.divide()
	// The change that A was told of, and B's server was not.
	if s.Lost = s.Acked[s.P[a].Own] > 0 && s.Replica.Log.Source < s.Server.Log.Source; s.Lost {
		s.Acked[s.P[a].Own] = 0
	}
}

// divide promotes the replica, to which B is connected from here on.
func (s *State) divide() {
	s.Promoted, s.Split = s.Replica, true
	s.Promoted.History <<= 1
	s.P[b].Moved, s.P[b].New = true, true
}

// disconnect loses what was on its way, and the server forgets what was tracked.
func (g *Guards) disconnect(s *State, i int) {
	p := &s.P[i]
	s.of(i).Tracked[i] = false
	p.New = true
	if g.LostProof {
		p.Proof = old
	}
	p.Notice, p.Message, p.Beat = false, Message{}, Beat{}
	if g.Epoch {
		p.Local = Entry{}
	}
	p.Read.Noticed = true
	if p.Read.Phase == Sent || p.Read.Phase == Answered {
		p.Read.Offline, p.Read.With = true, false
		g.begin(p)
	}
	if c := &p.Change; c.Phase == Sent || c.Phase == Answered {
		if c.Set {
			*c = Change{} // it promised nothing, and may have been done
		} else {
			s.Left.Fails++
			g.fail(s, p)
		}
	}
}

// age lets a step of time pass. Ages beyond the bound are alike.
func (s *State) age() {
	for i := range s.P {
		p := &s.P[i]
		p.Proof = min(p.Proof+1, old)
		if p.Read.Phase != Idle {
			p.Read.Age = min(p.Read.Age+1, old)
		}
		if p.Beat.Phase != Idle {
			p.Beat.Age = min(p.Beat.Age+1, old)
		}
	}
	for v := range s.Acked {
		if s.Acked[v] > 0 {
			s.Acked[v] = min(s.Acked[v]+1, old+1)
		}
	}
}
