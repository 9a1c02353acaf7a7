package main

import (
	"bytes"
	"os"
	"testing"
)

func TestDocsAreUpToDate(t *testing.T) {
	have, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, render()) {
		t.Fatalf("%s is stale: run `go run ./tools/gendocs`", path)
	}
}
