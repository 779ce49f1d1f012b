"""Everything that touches gradio beyond its public interface, each with its reason.

These are all its private parts that are reached for; without any of them the page works, see
`tests/ui/adapter/test_reaches.py`. `Page` overrides two methods besides, which is public Python.

- `Blocks._queue`, and in it `push`, `blocks`, `active_jobs`, `event_queue_per_concurrency_id`,
  `pending_event_ids_session` and `pending_messages_per_session`: who may wait (`event_queue`).
- `sleep_when_free` and `progress_update_sleep_when_free` of that queue: 6% of a core, always.
- `gradio.blocks.App`, put aside while a page is built: 150 ms of a start of 3 s (`page`).
- `Blocks.default_config`, a `gradio.blocks.BlocksConfig`, with `get_config` called once and no
  `config_for_block` for a visit: 65 ms of every look at the page, 45 ms and 0.8 MiB of every visit,
  the memory for an hour or longer (`page`).
- The HTML of the page, into which a script is written: an open page's own idling (`first_script`).

No tab is known here.
"""
