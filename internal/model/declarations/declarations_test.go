package declarations

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

var world = Limits{Sets: 2, Others: 2, Reads: 3, Beats: 1, Saves: 1, Restarts: 1, Deaths: 1}

func TestALostSetIsFoundOut(t *testing.T) {
	modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
}

// restarts is a server that is restarted twice, and A reads the delta before each Set.
var restarts = Limits{Sets: 2, Others: 1, Reads: 2, Saves: 2, Restarts: 2, Deaths: 1, Prompt: true}

func TestALostSetIsFoundOutAfterTwoRestarts(t *testing.T) {
	modeltest.Holds(t, Search(search.AllOf[Guards](), restarts, modeltest.Most()))
	t.Run("without Adopt", func(t *testing.T) {
		modeltest.Breaks(t, Search(search.Without[Guards]("Adopt"), restarts, modeltest.Most()))
	})
}

func TestALostSetIsFoundOutInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for _, large := range []Limits{
		{Sets: 3, Others: 2, Reads: 3, Beats: 1, Saves: 2, Restarts: 1, Deaths: 1},
		{Sets: 2, Others: 1, Reads: 3, Saves: 2, Restarts: 2, Deaths: 1, Prompt: true},
	} {
		modeltest.Holds(t, Search(search.AllOf[Guards](), large, modeltest.Most()))
	}
}

// A log that was lost takes the declarations along, and the one that replaces it has
// none. What is set until that is heard is not covered.
func TestASetRightAfterALostLogIsNotCovered(t *testing.T) {
	world := Limits{Sets: 1, Reads: 2, Saves: 2, Restarts: 2}
	modeltest.Breaks(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
}

func TestWithoutAnyOneGuardASetIsLostUnnoticed(t *testing.T) {
	for _, name := range []string{"Declare", "Admit", "Behind", "Floor", "Keep"} {
		t.Run(name, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](name), world, modeltest.Most()))
		})
	}
}

// Declaring again comes too late: see the package comment. Where the member v is
// kept it is not needed.
func TestDeclaringAgainDoesNotTakeThePlaceOfKeeping(t *testing.T) {
	t.Run("heard with the next heartbeat", func(t *testing.T) {
		modeltest.Breaks(t, Search(AsWritten(), world, modeltest.Most()))
	})
	t.Run("heard before each Set", func(t *testing.T) {
		prompt := world
		prompt.Prompt = true
		modeltest.Breaks(t, Search(AsWritten(), prompt, modeltest.Most()))
	})
	t.Run("not needed", func(t *testing.T) {
		modeltest.Holds(t, Search(search.Without[Guards]("Again"), world, modeltest.Most()))
	})
}
