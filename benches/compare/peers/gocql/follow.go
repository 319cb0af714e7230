package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gocql/gocql"
)

// pollEvery is how often a row that is not there yet is asked for.
const pollEvery = time.Millisecond

// follow reads lines of a time (milliseconds since the epoch, when the broker appended the record) and an id until the end of
// the input, asks for the row of one of `every` until it is there, and prints the quantiles of the times between, in
// milliseconds. They hold the answer's way to the asker and up to a poll, and the time is cut to its millisecond: it is never
// less than what it measures.
func follow(session *gocql.Session, table string, every int, skip, limit time.Duration) {
	statement := fmt.Sprintf("SELECT id FROM %s WHERE id = ?", table)
	var lock sync.Mutex
	var tookMs []float64
	var asking sync.WaitGroup
	var first time.Time
	lines, missing := 0, 0
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var ms int64
		var text string
		if _, err := fmt.Sscan(input.Text(), &ms, &text); err != nil {
			log.Fatalf("line %d: %q: %v", lines+1, input.Text(), err)
		}
		id, err := gocql.ParseUUID(text)
		if err != nil {
			log.Fatal(err)
		}
		appended := time.UnixMilli(ms)
		if first.IsZero() {
			first = appended
		}
		lines++
		if lines%every != 0 || appended.Sub(first) < skip {
			continue
		}
		asking.Add(1)
		go func() {
			defer asking.Done()
			var found gocql.UUID
			for session.Query(statement, id).Scan(&found) != nil {
				if time.Since(appended) > limit {
					lock.Lock()
					missing++
					lock.Unlock()
					return
				}
				time.Sleep(pollEvery)
			}
			took := float64(time.Since(appended).Microseconds()) / 1000
			lock.Lock()
			tookMs = append(tookMs, took)
			lock.Unlock()
		}()
	}
	asking.Wait()
	if len(tookMs) == 0 {
		log.Fatalf("%d lines, and no row was there within %s", lines, limit)
	}
	slices.Sort(tookMs)
	at := func(quantile float64) float64 { return tookMs[min(len(tookMs)-1, int(quantile*float64(len(tookMs))))] }
	fmt.Printf("{\"lines\": %d, \"followed\": %d, \"missing\": %d, \"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"max\": %.2f}\n",
		lines, len(tookMs), missing, at(0.5), at(0.9), at(0.99), tookMs[len(tookMs)-1])
}
