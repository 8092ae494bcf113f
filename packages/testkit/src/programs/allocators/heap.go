// What Go's runtime promises on memory that may be linked: content that stays, zeros from make.
// Usage: heap IMAGE1 IMAGE2
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

var failed bool

func need(isRight bool, what string) {
	if !isRight {
		fmt.Println("bad", what)
		failed = true
	}
}

// The ten lines of docs/protocol.md.
func checkpoint(to string) {
	directory := os.Getenv("FORKPOINT_DIR")
	link := os.Getenv("HAZARDS_PLAIN") == ""
	request := fmt.Sprintf("{\"v\":1,\"op\":\"checkpoint\",\"pid\":%d,\"to\":\"%s\",\"stop\":true,\"link\":%t}\n", os.Getpid(), to, link)
	file, err := os.OpenFile(directory+"/request", os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(request)
		file.Close()
	}
	outcome, problem := os.ReadFile(directory + "/outcome")
	if err != nil || problem != nil || !strings.Contains(string(outcome), "\"restored\"") {
		fmt.Println("no restore:", string(outcome), err, problem)
		os.Exit(2)
	}
}

func block(i int) []byte { return bytes.Repeat([]byte{byte(i%250 + 1)}, 1000+i*997%400000) }

func main() {
	const count = 400
	blocks := make([][]byte, count)
	words := map[string]int{}
	for i := range blocks {
		blocks[i] = block(i)
	}
	for i := 0; i < 100000; i++ {
		words[fmt.Sprint("word ", i)] = i
	}
	for generation, image := range os.Args[1:] {
		checkpoint(image)
		for i, b := range blocks {
			need(bytes.Equal(b, block(i)), "content")
		}
		need(words["word 4711"] == 4711 && len(words) == 100000, "a map")
		for round := 0; round < 3; round++ {
			for i := (generation + round) % 2; i < count; i += 2 {
				blocks[i] = nil
			}
			debug.FreeOSMemory()
			for i := range blocks {
				if blocks[i] != nil {
					continue
				}
				blocks[i] = make([]byte, len(block(i)))
				need(len(bytes.Trim(blocks[i], "\x00")) == 0, "zeros from make")
				copy(blocks[i], block(i))
			}
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Println("ok")
}
