{% macro landed(table) -%}
    {%- set relation = source('loader', table) -%}
    {%- if not execute or relation.is_cte or load_relation(relation) is not none -%}
        {{ relation }}
    {%- else -%}
        {%- set declared = graph.sources.values() | selectattr('source_name', 'equalto', 'loader')
            | selectattr('name', 'equalto', table) | first -%}
        (
            select
            {%- for column in declared.columns.values() %}
                cast(null as {{ column.data_type }}) as {{ column.name }}{{ ',' if not loop.last }}
            {%- endfor %}
            limit 0
        )
    {%- endif -%}
{%- endmacro %}


{% macro built(model_name) -%}
    {%- if execute -%}
        {%- set node = graph.nodes['model.headrace.' ~ model_name] -%}
        {{ return(adapter.get_relation(node.database, node.schema, node.alias)) }}
    {%- endif -%}
{%- endmacro %}


{% macro count_rows(sql) -%}
    {{ return(run_query('select count(*) ' ~ sql).rows[0][0]) }}
{%- endmacro %}


{% test unique_in_batch(model, column_name) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} in (select {{ column_name }} from {{ ref('event_batch') }})
group by {{ column_name }}
having count(*) > 1
{% endtest %}


{% macro purge_queue(results) -%}
    {%- set loads = ref('batch_loads') -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {#- The list grows while the loop reads it: that is the walk down the graph. -#}
        {%- set downstream = ['model.headrace.batch_loads'] -%}
        {%- for parent in downstream -%}
            {%- for id, node in graph.nodes.items()
                if node.resource_type == 'model' and parent in node.depends_on.nodes and id not in downstream -%}
                {%- do downstream.append(id) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- set done = [] -%}
        {%- set failed = [] -%}
        {%- for result in results -%}
            {%- if result.status in ('success', 'pass', 'warn', 'no-op') -%}
                {%- do done.append(result.node.unique_id) -%}
            {%- else -%}
                {%- do failed.append(result.node.unique_id) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set missing = [] -%}
        {%- for id in downstream if id not in done and graph.nodes[id].config.materialized != 'ephemeral' -%}
            {%- do missing.append(id) -%}
        {%- endfor -%}
        {%- if failed or missing -%}
            {%- do log('The queue keeps its batch: the next whole, green build merges it again.', info=true) -%}
        {%- else -%}
            {#- Marked first: a load that is marked is never read again, so a kill between the two loses nothing. -#}
            {%- if load_relation(source('loader', 'loaded_files')) is not none -%}
                {%- do run_query(
                    'update ' ~ source('loader', 'loaded_files') ~ ' set is_merged = true where _dlt_load_id in'
                    ~ ' (select load_id from ' ~ loads ~ ')'
                ) -%}
                {%- for table in ('raw_events', 'raw_definitions')
                    if load_relation(source('loader', table)) is not none -%}
                    {%- do run_query(
                        'delete from ' ~ source('loader', table) ~ ' where _dlt_load_id in'
                        ~ ' (select _dlt_load_id from ' ~ source('loader', 'loaded_files') ~ ' where is_merged)'
                    ) -%}
                {%- endfor -%}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
