package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/gocql/gocql"
)

// checkIDs compares the ids of a table with those of a file, of which it holds no more than that.
func checkIDs(session *gocql.Session, table, path string) {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	expected := make(map[gocql.UUID]struct{})
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			log.Fatalf("line %d: %v", len(expected)+1, err)
		}
		id, err := gocql.ParseUUID(one.ID)
		if err != nil {
			log.Fatal(err)
		}
		expected[id] = struct{}{}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	var id gocql.UUID
	found, foreign := 0, 0
	rows := session.Query(fmt.Sprintf("SELECT id FROM %s", table)).PageSize(5000).Iter()
	for rows.Scan(&id) {
		if _, ok := expected[id]; ok {
			found++
		} else {
			foreign++
		}
	}
	if err := rows.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"expected\": %d, \"found\": %d, \"foreign\": %d}\n", len(expected), found, foreign)
	if found != len(expected) || foreign > 0 {
		os.Exit(1)
	}
}
