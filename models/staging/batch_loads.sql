-- The ledger alone says what is queued: a re-created file that is now empty has no rows in raw_events.
select
    files._dlt_load_id as load_id,
    max(loads.inserted_at) as loaded_time
from {{ landed('loaded_files') }} as files
inner join {{ landed('_dlt_loads') }} as loads on files._dlt_load_id = loads.load_id
where
    loads.status = 0
    and not coalesce(files.is_merged, false)
group by files._dlt_load_id
{%- set redo = made_by_loader('redo') %}
{%- if redo %}

union all

-- The oldest request alone, so that a long time which was asked for in slices never becomes one batch.
select
    request_id as load_id,
    cast(min(requested_time) as {{ type_timestamptz() }}) as loaded_time
from {{ redo }}
where request_id = (select min(request_id) from {{ redo }})
group by request_id
{%- endif %}
