package model

import "github.com/tiercache/tiercache/internal/model/search"

// losses are what the world does to servers, networks and time.
func (g *Guards) losses(s *State, next step) {
	steps := search.From(s, next)
	happens := func(left *int8, what string, f func(s *State)) { steps.Within(left, "", what, f) }
	for _, v := range []*Server{&s.Server, &s.Promoted} {
		if log := v.Log; s.Left.Paced && log.Inc != 0 && log.Published != 0 && log.Published < log.Tick {
			steps.Take("", "a message tells of all changes that wait", func(c *State) {
				if v == &s.Promoted {
					c.publish(&c.Promoted, log.Published, a, b)
				} else {
					c.publish(&c.Server, log.Published, a, b)
				}
			})
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
		steps.Take("", "the replica catches up", func(s *State) { s.Replica = replicated(s.Server) })
	}
	happens(&s.Left.Failovers, "the primary dies, the replica is promoted", func(s *State) { g.failover(s) })
	g.setsBack(s, happens)
	happens(&s.Left.Steps, "time passes", func(s *State) { s.age() })
}

// setsBack are the steps of a server that is set back to an image of itself, under
// the history that it has.
func (g *Guards) setsBack(s *State, happens func(left *int8, what string, f func(s *State))) {
	if s.Left.Reloads+s.Left.Rollbacks > 0 {
		happens(&s.Left.Images, "an image of the server is made", func(s *State) {
			s.Replica = replicated(s.Server)
			s.Server.Images++
		})
	}
	if s.Replica.Images == s.Server.Images {
		return // there is none
	}
	happens(&s.Left.Reloads, "the running server loads its image", func(s *State) {
		images := s.Server.Images // it goes on counting
		s.Server = s.Replica
		s.Server.Images = images
		for i := range s.P {
			p := &s.P[i]
			p.Flush |= 1 << p.Invalidation
			p.Invalidation++
		}
	})
	for i := range s.P {
		if !s.Left.Unseen && s.P[i].Images < s.Server.Images {
			return
		}
	}
	happens(&s.Left.Rollbacks, "the machine of the server is set back to the image", func(s *State) {
		s.Server = s.Replica
		g.disconnect(s, a)
		g.disconnect(s, b)
	})
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
	if s.Left.Agree {
		s.Clock = s.clock()
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
	p.Invalidation, p.Flush, p.Message, p.Beat = 0, 0, Message{}, Beat{}
	if g.Epoch {
		if s.Left.Suspend && p.Local.Inc != 0 {
			p.Susp, p.SuspOwed = p.Local, p.Owed
		}
		p.Local, p.Owed = Entry{}, false
	}
	if g.SameEpoch {
		p.Back = Back{} // what it brings is of the epoch before
	}
	p.Back.AfterPushes = 0
	if p.Read.Reval && p.Read.Phase == Answered && !g.SameEpoch {
		return
	}
	p.Read.Invalidated = true
	if p.Read.Phase == Sent || p.Read.Phase == Answered {
		p.Read.Offline, p.Read.With = true, false
		g.begin(p)
	}
	if c := &p.Change; c.Phase == Sent || c.Phase == Answered {
		if c.Set {
			g.giveUp(s, i)
		} else {
			g.fail(p)
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
