package main

func init() {
	guards = append(guards)
}
