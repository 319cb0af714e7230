// Command gocql is the bare writer that userpipe is measured against, and the judge of what anybody wrote.
//
//	gocql write  -file users.jsonl -table ks.t -batch 50 -in-flight 32    rows from a file, nothing else in the way
//	gocql check  -file users.jsonl -table ks.t                            every row, value by value, against the file
//	gocql check  -ids-only …                                              the ids alone, for millions
//	gocql probe  -table ks.t -ids a,b,c                                   prints when a first row is there, and when all of the ids are
//	gocql follow -table ks.t -every 10 -skip 3s                           reads "MILLISECONDS ID" lines; how long after that each row is there
//
// `write` is the limit: no broker, no decoding of records while it writes, unlogged batches of the size that gave the most.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
)

// user is one line of the file, as userpipe writes it.
type user struct {
	ID             string    `json:"id"`
	FirstName      string    `json:"first_name"`
	LastName       string    `json:"last_name"`
	Gender         string    `json:"gender"`
	Email          string    `json:"email"`
	Username       string    `json:"username"`
	Phone          string    `json:"phone"`
	Address        string    `json:"address"`
	PostCode       string    `json:"post_code"`
	Dob            time.Time `json:"dob"`
	RegisteredDate time.Time `json:"registered_date"`
	Picture        string    `json:"picture"`
	Timestamp      time.Time `json:"timestamp"`
}

const columns = "id, first_name, last_name, gender, email, username, phone, address, post_code, dob, registered_date, picture, timestamp"

// row is a user as it is bound.
func (u *user) row() []any {
	id, err := gocql.ParseUUID(u.ID)
	if err != nil {
		log.Fatalf("id %q: %v", u.ID, err)
	}
	return []any{id, u.FirstName, u.LastName, u.Gender, u.Email, u.Username, u.Phone, u.Address, u.PostCode, u.Dob,
		u.RegisteredDate, u.Picture, u.Timestamp}
}

// read parses the whole file; each line is one user.
func read(path string) []user {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	var users []user
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var u user
		if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
			log.Fatalf("line %d: %v", len(users)+1, err)
		}
		users = append(users, u)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	return users
}

func connect(hosts string, connections int) *gocql.Session {
	cluster := gocql.NewCluster(strings.Split(hosts, ",")...)
	cluster.Consistency = gocql.LocalQuorum
	cluster.NumConns = connections
	cluster.Timeout = 10 * time.Second
	// No compression: on loopback it costs the node 12 % of CPU and gives nothing.
	session, err := cluster.CreateSession()
	if err != nil {
		log.Fatal(err)
	}
	return session
}

// write inserts all users in unlogged batches (or alone, with a batch of 1), and prints the seconds it took.
func write(session *gocql.Session, table string, users []user, batch, inFlight int) {
	statement := fmt.Sprintf("INSERT INTO %s (%s) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) USING TIMESTAMP ?", table, columns)
	rows := make([][]any, len(users))
	for i := range users {
		rows[i] = append(users[i].row(), users[i].Timestamp.UnixMicro())
	}
	work := make(chan [][]any, inFlight)
	var writers sync.WaitGroup
	began := time.Now()
	for range inFlight {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for part := range work {
				var err error
				if len(part) == 1 {
					err = session.Query(statement, part[0]...).Exec()
				} else {
					b := session.NewBatch(gocql.UnloggedBatch)
					for _, row := range part {
						b.Query(statement, row...)
					}
					err = session.ExecuteBatch(b)
				}
				if err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
	for len(rows) > 0 {
		n := min(batch, len(rows))
		work <- rows[:n]
		rows = rows[n:]
	}
	close(work)
	writers.Wait()
	fmt.Printf("{\"rows\": %d, \"seconds\": %.6f}\n", len(users), time.Since(began).Seconds())
}

// check reads the table and compares it with the file: nothing missing, nothing more, every value equal.
func check(session *gocql.Session, table string, users []user) {
	expected := make(map[gocql.UUID]*user, len(users))
	for i := range users {
		id, err := gocql.ParseUUID(users[i].ID)
		if err != nil {
			log.Fatal(err)
		}
		expected[id] = &users[i]
	}
	rows := session.Query(fmt.Sprintf("SELECT %s FROM %s", columns, table)).PageSize(5000).Iter()
	var id gocql.UUID
	var u user
	found, foreign, different := 0, 0, 0
	for rows.Scan(&id, &u.FirstName, &u.LastName, &u.Gender, &u.Email, &u.Username, &u.Phone, &u.Address, &u.PostCode,
		&u.Dob, &u.RegisteredDate, &u.Picture, &u.Timestamp) {
		want, ok := expected[id]
		if !ok {
			foreign++
			continue
		}
		found++
		u.ID = want.ID
		if !equal(&u, want) {
			if different == 0 {
				log.Printf("first difference: %+v is not %+v", u, *want)
			}
			different++
		}
	}
	if err := rows.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"expected\": %d, \"found\": %d, \"foreign\": %d, \"different\": %d}\n", len(expected), found, foreign, different)
	if found != len(expected) || foreign > 0 || different > 0 {
		os.Exit(1)
	}
}

func equal(a, b *user) bool {
	return a.FirstName == b.FirstName && a.LastName == b.LastName && a.Gender == b.Gender && a.Email == b.Email &&
		a.Username == b.Username && a.Phone == b.Phone && a.Address == b.Address && a.PostCode == b.PostCode &&
		a.Dob.Equal(b.Dob) && a.RegisteredDate.Equal(b.RegisteredDate) && a.Picture == b.Picture && a.Timestamp.Equal(b.Timestamp)
}

// probe waits for a first row, and for the rows of these ids, and prints both times in seconds since the epoch.
func probe(session *gocql.Session, table string, ids []string, limit time.Duration) {
	deadline := time.Now().Add(limit)
	wait := func(what string, there func() bool) {
		for !there() {
			if time.Now().After(deadline) {
				log.Fatalf("%s: not within %s", what, limit)
			}
			// Often enough for runs of seconds, and no load that anybody would notice.
			time.Sleep(20 * time.Millisecond)
		}
		fmt.Printf("{\"%s\": %.6f}\n", what, float64(time.Now().UnixNano())/1e9)
	}
	var id gocql.UUID
	any := fmt.Sprintf("SELECT id FROM %s LIMIT 1", table)
	wait("first", func() bool { return session.Query(any).Scan(&id) == nil })
	one := fmt.Sprintf("SELECT id FROM %s WHERE id = ?", table)
	wait("last", func() bool {
		for _, text := range ids {
			wanted, err := gocql.ParseUUID(text)
			if err != nil {
				log.Fatal(err)
			}
			if session.Query(one, wanted).Scan(&id) != nil {
				return false
			}
		}
		return true
	})
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("gocql write|check|probe|follow")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	hosts := flags.String("hosts", "127.0.0.1:9042", "contact points")
	table := flags.String("table", "", "keyspace.table")
	file := flags.String("file", "", "JSON Lines of users")
	batch := flags.Int("batch", 50, "rows a batch; 1 is single inserts")
	inFlight := flags.Int("in-flight", 32, "statements in flight")
	connections := flags.Int("connections", 2, "connections a node")
	ids := flags.String("ids", "", "ids to wait for")
	idsOnly := flags.Bool("ids-only", false, "check: compare no values, for files that do not fit into memory")
	every := flags.Int("every", 10, "one of so many lines is followed to its row")
	skip := flags.Duration("skip", 3*time.Second, "what is appended within so long of the first line is not followed: the group forms")
	limit := flags.Duration("limit", 10*time.Minute, "how long to wait for them")
	if err := flags.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	session := connect(*hosts, *connections)
	defer session.Close()
	switch os.Args[1] {
	case "write":
		write(session, *table, read(*file), *batch, *inFlight)
	case "check":
		if *idsOnly {
			checkIDs(session, *table, *file)
		} else {
			check(session, *table, read(*file))
		}
	case "follow":
		follow(session, *table, *every, *skip, *limit)
	case "probe":
		probe(session, *table, strings.Split(*ids, ","), *limit)
	default:
		log.Fatalf("unknown command %q", os.Args[1])
	}
}
