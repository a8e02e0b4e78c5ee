INSERT INTO account (name, settled, live, held) VALUES (?, ?, 0, 0) ON CONFLICT (name) DO UPDATE SET settled = settled + excluded.settled
