{{ config(
    materialized='view' if var('managed_events') else 'incremental',
    unique_key='event_id',
    meta={'prune_by_batch_day': 'event_time'},
    **layout('event_time', filter_by='event_type', join_by='device_id')
) }}

{%- if var('managed_events') %}

{%- set managed = managed_events() %}

select
    cast(event_id as {{ dbt.type_string() }}) as event_id,
    cast(event_time as {{ type_timestamptz() }}) as event_time,
    cast(processed_time as {{ type_timestamptz() }}) as processed_time,
    cast(coalesce(updated_time, processed_time) as {{ type_timestamptz() }}) as updated_time,
    cast(device_id as {{ warehouse_type('bigint') }}) as device_id,
    cast(session_id as {{ warehouse_type('bigint') }}) as session_id,
    cast(view_id as {{ warehouse_type('bigint') }}) as view_id,
    cast(event_type as {{ dbt.type_string() }}) as event_type,
    cast(source_type as {{ dbt.type_string() }}) as source_type,
    {%- for column, type in event_content().items() %}
    {{ as_json(managed, column) if type == 'json' else 'cast(' ~ column ~ ' as ' ~ warehouse_type(type) ~ ')' }} as {{ column }},
    {%- endfor %}
    {%- for column, type in event_stamps().items() %}
    cast(null as {{ warehouse_type(type) }}) as {{ column }},
    {%- endfor %}
    -- Who keeps the table has done what these are for.
    cast(null as {{ type_timestamptz() }}) as _feed_updated_time,
    cast(null as {{ dbt.type_string() }}) as _file,
    false as _has_other_files,
    cast(null as {{ dbt.type_string() }}) as _load_id,
    cast(null as {{ dbt.type_string() }}) as _content_hash,
    false as _is_withdrawn,
    cast(event_id as {{ dbt.type_string() }}) as _source_event_id,
    false as _is_reordered,
    false as _is_export,
    cast(null as {{ dbt.type_string() }}) as _first_load_id,
    cast(null as {{ dbt.type_string() }}) as _changed_load_id
from {{ managed }}

{%- else %}

{#- The queue that fed this table has been deleted since, so a rebuild would empty it: full_refresh is false for this
    folder. The archive is the feed's files, which can be loaded again. -#}
{%- if execute and flags.FULL_REFRESH and not this.is_cte -%}
    {%- do log('events and the definitions keep their rows: --full-refresh rebuilds what is made from them.', info=true) -%}
{%- endif -%}

{%- set identifiers = ['processed_time', 'device_id', 'session_id', 'view_id', 'source_type'] -%}
{%- set properties = event_content() -%}
{%- set stamps = event_stamps() -%}
{%- set texts = properties | list + stamps | list -%}
{%- set lowest_time = timestamptz('0001-01-01 00:00:00') -%}

with batch as (
    select *
    from {{ ref('event_batch') }}
    where not _is_redone
),

-- Text from the queue becomes JSON here and is written once, whatever the batch keeps of a row.
landed as (
    select
        event_id,
        {%- for column, type in properties.items() %}
        {{ parse_json(column) if type == 'json' else column }} as {{ column }},
        {%- endfor %}
        {%- for column in stamps %}
        {{ column }},
        {%- endfor %}
        _file,
        _position,
        _dlt_load_id
    from {{ landed('raw_events') }} as landed_rows
    where event_type is not null
),

existing as (
    {%- if is_incremental() %}
    select *
    from {{ this }} as events
    where {{ batch_rows('events', this, '_earlier_event_id') }}
    {%- else %}
    select
        *,
        {%- for column, type in (properties.items() | list) + (stamps.items() | list) %}
        cast(null as {{ warehouse_type(type) }}) as {{ column }},
        {%- endfor %}
        cast(null as {{ type_timestamptz() }}) as updated_time,
        cast(null as {{ dbt.type_string() }}) as _first_load_id,
        cast(null as {{ dbt.type_string() }}) as _changed_load_id
    from batch
    where 1 = 0
    {%- endif %}
),

compared as (
    select
        batch.*,
        {%- for column in texts %}
        landed.{{ column }},
        {%- endfor %}
        {%- for column in identifiers + ['event_type'] + texts + ['event_time', 'updated_time'] %}
        existing.{{ column }} as existing_{{ column }},
        {%- endfor %}
        existing._feed_updated_time as existing_feed_updated_time,
        existing._file as existing_file,
        existing._load_id as existing_load_id,
        existing._content_hash as existing_content_hash,
        existing._is_withdrawn as existing_is_withdrawn,
        existing._has_other_files as existing_has_other_files,
        existing._is_reordered as existing_is_reordered,
        existing._first_load_id as existing_first_load_id,
        existing._changed_load_id as existing_changed_load_id,
        existing.event_id is null as is_new,
        batch._has_other_files or coalesce(existing._has_other_files or existing._file <> batch._file, false)
            as has_other_files,
        coalesce(batch._feed_updated_time, {{ lowest_time }}) as feed_version,
        coalesce(existing._feed_updated_time, {{ lowest_time }}) as existing_feed_version,
        coalesce(batch.processed_time, {{ lowest_time }}) as processed_version,
        coalesce(existing.processed_time, {{ lowest_time }}) as existing_processed_version
    from batch
    left join landed
        on
            batch._source_event_id = landed.event_id
            and batch._load_id = landed._dlt_load_id
            and batch._file = landed._file
            and batch._position = landed._position
    left join existing on batch._earlier_event_id = existing.event_id
),

decided as (
    select
        compared.*,
        -- Another file holds what this one dropped: then the row stays.
        _is_withdrawn and not has_other_files as is_withdrawn,
        case
            when is_new then true
            when not _is_delivered then false
            when feed_version <> existing_feed_version then feed_version > existing_feed_version
            when processed_version <> existing_processed_version
                then processed_version > existing_processed_version
            -- At the same version null wins, and stays, but for a row that is null only because its file dropped it
            -- when a file delivers it: whether it comes before or after must not matter.
            when event_type is null then true
            when existing_event_type is null then existing_is_withdrawn and (has_other_files or not _is_withdrawn)
            else _load_id >= existing_load_id
        end as is_newer,
        -- The same once more: it keeps the stamps that it got when it first came.
        not is_new
        and feed_version = existing_feed_version
        and processed_version = existing_processed_version
        and event_type is not null
        and _content_hash = existing_content_hash
        and not _is_restamped as is_repeated
    from compared
),

merged as (
    select
        event_id,
        -- Immutable, whatever the version: rows are found by its day.
        coalesce(existing_event_time, event_time) as event_time,
        {%- for column in identifiers %}
        case
            when is_newer then coalesce({{ column }}, existing_{{ column }})
            else coalesce(existing_{{ column }}, {{ column }})
        end as {{ column }},
        {%- endfor %}
        {%- for column in ['event_type'] + texts %}
        case
            when is_withdrawn or _is_reordered then null
            when is_newer{{ ' and not coalesce(is_repeated, false)' if column in texts }} then {{ column }}
            else existing_{{ column }}
        end as {{ column }},
        {%- endfor %}
        case
            when is_withdrawn or _is_reordered then null
            when is_newer then _content_hash
            else existing_content_hash
        end as _content_hash,
        case when is_newer then _feed_updated_time else existing_feed_updated_time end as _feed_updated_time,
        case when is_newer then _file else existing_file end as _file,
        case when is_newer then _load_id else existing_load_id end as _load_id,
        has_other_files as _has_other_files,
        case
            when is_withdrawn
                then
                    coalesce(existing_is_withdrawn, false)
                    or case when is_newer then event_type else existing_event_type end is not null
            when is_newer then false
            else existing_is_withdrawn
        end as _is_withdrawn,
        _source_event_id,
        _is_reordered,
        _is_export,
        case when decided.is_new then _load_id else existing_first_load_id end as _first_load_id,
        existing_changed_load_id,
        -- A row of its own for readers: what it was is left behind, nulled.
        is_new or _earlier_event_id <> event_id as is_new,
        existing_updated_time,
        {%- for column in ['event_time'] + identifiers %}
        existing_{{ column }},
        {%- endfor %}
        {%- for column in stamps %}
        existing_{{ column }},
        {%- endfor %}
        existing_content_hash,
        existing_feed_updated_time,
        existing_has_other_files,
        existing_is_withdrawn,
        existing_is_reordered
    from decided
),

changed as (
    select
        merged.*,
        is_new
        {%- for column in ['event_time'] + identifiers + stamps | list %}
        or {{ differs(column, 'existing_' ~ column) }}
        {%- endfor %}
        or {{ differs('_content_hash', 'existing_content_hash') }} as is_changed,
        {{ differs('_feed_updated_time', 'existing_feed_updated_time') }}
        or {{ differs('_has_other_files', 'existing_has_other_files') }}
        or {{ differs('_is_withdrawn', 'existing_is_withdrawn') }}
        or {{ differs('_is_reordered', 'existing_is_reordered') }} as is_changed_inside
    from merged
)

select
    event_id,
    event_time,
    processed_time,
    -- Readers use it as a cursor: it moves only with what they can see, and never back, whatever the clock does.
    case
        when is_new then {{ now() }}
        when is_changed then greatest(existing_updated_time, {{ now() }})
        else existing_updated_time
    end as updated_time,
    device_id,
    session_id,
    view_id,
    event_type,
    source_type,
    {%- for column in texts %}
    {{ column }},
    {%- endfor %}
    _feed_updated_time,
    _file,
    _has_other_files,
    _load_id,
    _content_hash,
    _is_withdrawn,
    _source_event_id,
    _is_reordered,
    _is_export,
    _first_load_id,
    case
        -- A request to do days again, which has a dash in its id, changes nothing here.
        when is_changed
            then (
                select max(loads.load_id)
                from {{ ref('batch_loads') }} as loads
                where loads.load_id not like '%-%'
            )
        else existing_changed_load_id
    end as _changed_load_id
from changed
where is_changed or is_changed_inside
{{ rows_ordered_by('event_time') }}

{%- endif %}
