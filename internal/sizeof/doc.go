// Package sizeof estimates how much heap a decoded value keeps alive, so that a cache can be bounded in bytes.
//
// Go offers no such number. Of walks the value by reflection and adds up its objects, each rounded up to the allocator's
// size class.
//
// It is right to a few percent for what decoders produce: structs, strings, slices, maps, pointers, interfaces. It
// cannot know:
//
//   - that a string, or a slice of limited capacity, is part of a larger array; only the part that it refers to is counted;
//   - that a map once was larger; its size is deduced from the entries it has;
//   - that other values refer to an object as well, or that it is part of the program, as string constants are. It is
//     counted; the location of a time.Time is not.
//
// # What is not read
//
// Values are shared, and read-only by contract; but they may hold objects with internal state that methods change, as
// an http.Client has its table of idle connections. To read that state meanwhile is a data race, and ends the process if
// it is a map. So the walk enters only values whose type proves them to be plain: see planOf. The rest it guesses, with
// 64 bytes for each reference and 512 for a struct, and reports that it did. Nor does it read what lies in an array beyond the length of a slice.
//
// The plain part of a value must not be modified while it is sized.
package sizeof
