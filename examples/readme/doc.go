// Readme is the program that the README prints.
package main
