package views

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

var (
	kinds = Limits{Sets: 3, Reads: 3, Forgets: 2, LocalOnly: true}
	modes = Limits{Sets: 3, Reads: 3, Untracked: true}
	both  = Limits{Sets: 2, Reads: 3, Forgets: 1, LocalOnly: true, Untracked: true}
)

func TestNoViewServesForGoodWhatIsOlder(t *testing.T) {
	for name, world := range map[string]Limits{"kinds": kinds, "modes": modes, "both": both} {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestWithoutRefusingAViewServesWhatIsOlder(t *testing.T) {
	t.Run("Kinds", func(t *testing.T) {
		modeltest.Breaks(t, Search(search.Without[Guards]("Kinds"), kinds, modeltest.Most()))
	})
	t.Run("Drop", func(t *testing.T) {
		modeltest.Breaks(t, Search(search.Without[Guards]("Drop"), kinds, modeltest.Most()))
	})
	t.Run("Modes", func(t *testing.T) {
		modeltest.Breaks(t, Search(search.Without[Guards]("Modes"), modes, modeltest.Most()))
	})
}
