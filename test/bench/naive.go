package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// naive is the workflow that a good team writes first. See naiveworker.go for what it
// does.
type naive struct {
	db     *gorm.DB
	server client.Client
}

// naiveRow is a row of its table.
type naiveRow struct {
	ID            string `gorm:"primaryKey"`
	AccessToken   string
	RefreshToken  string
	Generation    int64
	ExpiresAt     time.Time
	NextRefreshAt time.Time
	UpdatedAt     time.Time
}

// TableName implements gorm's Tabler.
func (naiveRow) TableName() string { return "naive_connections" }

func openNaive(url string) (*gorm.DB, error) {
	return gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard}) // a logger would log tokens
}

func (n *naive) temporal() bool { return true }

// refreshesPerRun returns 4,096 / 11: the server suggests to continue as new at 4,096
// events (its limit.historyCount.suggestContinueAsNew), and a refresh takes 11.
func (n *naive) refreshesPerRun() int { return 4096 / 11 }

func (n *naive) prepare(_ context.Context, w *world) (err error) {
	n.server = w.client
	if n.db, err = openNaive(w.pg.URL); err != nil {
		return err
	}
	w.undo = append(w.undo, func() {
		if db, err := n.db.DB(); err == nil {
			_ = db.Close()
		}
	})
	return n.db.AutoMigrate(&naiveRow{})
}

func (n *naive) command(w *world) (string, []string, error) {
	return hidden(naiveCommand, "-listen", w.address, "-database", w.pg.URL, "-temporal", w.temporal.Address, "-token-url", w.tokenURL(), "-cache", strconv.Itoa(w.cache))
}

func (n *naive) add(ctx context.Context, g grant) (string, error) {
	row := naiveRow{ID: g.account, AccessToken: g.access.Reveal(), RefreshToken: g.refresh.Reveal(), Generation: 1, ExpiresAt: g.obtained.Add(g.life)}
	row.NextRefreshAt = naiveDue(row, g.obtained, g.life)
	if err := n.db.WithContext(ctx).Create(&row).Error; err != nil {
		return "", fmt.Errorf("create connection %s: %w", row.ID, err)
	}
	_, err := n.server.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: n.workflowID(row.ID), TaskQueue: taskQueue}, naiveWorkflow, row.ID, row.NextRefreshAt)
	return row.ID, err
}

func (n *naive) table() string { return "naive_connections" }

func (n *naive) unwell() string { return overdue }

func (n *naive) workflowID(id string) string { return "naive/" + id }

func (n *naive) lateness(ctx context.Context, w *world, since time.Time) (out []float64, err error) {
	return out, w.worker.get(ctx, "/lateness?since="+since.UTC().Format(time.RFC3339Nano), &out)
}
