-- The time twice. Nothing is held, in a window or in the queue.
SELECT NOT EXISTS (SELECT 1 FROM hold)
    AND NOT EXISTS (SELECT 1 FROM entry WHERE free_ms > ? AND amount <> 0)
    AND NOT EXISTS (SELECT 1 FROM ticket WHERE until_ms > ?)
