{# What a URL says, which page an event was on, and what counts as a view of a page. #}

{# Patterns here have no backslash: some warehouses want it twice. -#}
{% macro regexp_replace_all(text, pattern, by='') -%}
    {{ return(adapter.dispatch('headrace_regexp_replace_all', 'headrace')(text, pattern, by)) }}
{%- endmacro %}


{% macro url_property(part, given, full_url) -%}
    {#- In a case, as regular expressions take long and DuckDB finds what a nullif in a coalesce says for every row. -#}
    {%- set url = without_user(full_url, '//[^/?#]+@', '//') -%}
    {%- if part == 'full_url' -%}
        {{ url }}
    {%- else -%}
        {%- set begins_with = {'query': '?', 'hash_path': '#', 'hash_query': '#'} -%}
        case
            when {{ given }} is not null then {{ without_user(given, '^.*@') if part == 'host' else given }}
            {{ "when " ~ full_url ~ " like '%" ~ begins_with[part] ~ "%' then" if part in begins_with else 'else' }}
                {{ url_part(part, url) }}
        end
    {%- endif -%}
{%- endmacro %}


{% macro without_user(url, pattern, by='') -%}
    case when {{ url }} like '%@%' then {{ regexp_replace_all(url, pattern, by) }} else {{ url }} end
{%- endmacro %}


{% macro url_part(part, url) -%}
    {%- set left_out = {
        'host': ['^[^/?#]*(//|/?$|/[^/].*$|[?#].*$)', '[/?#].*$'],
        'path': ['[?#].*$', '^([^/]*//[^/]*|[A-Za-z][-+.A-Za-z0-9]*:)'],
        'query': ['#.*$', '^[^?]*', '^[?]$'],
        'hash_path': ['^[^#]*', '[?].*$', '^#$'],
        'hash_query': ['^[^#]*', '^[^?]*'],
    } -%}
    nullif({{ without(url, left_out[part]) }}, '')
{%- endmacro %}


{% macro without(text, patterns) -%}
    {%- set texts = [text] -%}
    {%- for pattern in patterns -%}
        {%- do texts.append(regexp_replace_all(texts[-1], pattern)) -%}
    {%- endfor -%}
    {{ return(texts[-1]) }}
{%- endmacro %}


{% macro page_host() -%}
    case
        when lower(url_full_url) like 'http:%' then {{ without('lower(url_host)', [':(80)?$']) }}
        when lower(url_full_url) like 'https:%' then {{ without('lower(url_host)', [':(443)?$']) }}
        else {{ without('lower(url_host)', [':(80|443)?$']) }}
    end
{%- endmacro %}


{% macro page_path() -%}
    {%- set path = without('url_path', [
        ';(jsessionid|JSESSIONID|sessionid|SESSIONID|phpsessid|PHPSESSID|sid|SID)=[^/;]*',
        '/[(]([A-Z][(][^()/]*[)])+[)]',
        '/+$',
    ]) -%}
    {%- set hash = without('url_hash_path', ['^#', '[?].*$', '/+$']) -%}
    case
        when url_host <> '' or url_path <> ''
            then {{ dbt.concat([
                "coalesce(nullif(" ~ path ~ ", ''), '/')",
                "case when url_hash_path like '%/%' and (" ~ hash ~ " like '/%' or " ~ hash ~ " like '!/%') then "
                ~ dbt.concat(["'#'", hash]) ~ " else '' end",
            ]) }}
    end
{%- endmacro %}


{% macro screen_name() -%}
    case
        when source_type = 'mobile_app'
            then coalesce(case when event_type = 'page_view' then nullif(page_name, '') end, nullif(app_view_name, ''))
    end
{%- endmacro %}


{% macro page_label() -%}
    case
        when screen_name is not null then screen_name
        when page_path is not null then null
        when source_type = 'mobile_app' then coalesce(app_name, app_package_name)
        when event_type = 'page_view' then nullif(page_name, '')
    end
{%- endmacro %}


{% macro undefined_page_id() -%}
    {%- set app = "coalesce(app_name, app_package_name, '')" -%}
    case
        when screen_name is not null then {{ dbt.concat(["'app://'", app, "'/'", 'screen_name']) }}
        when page_path is not null then {{ dbt.concat(["coalesce(page_host, '')", 'page_path']) }}
        when source_type = 'mobile_app' then {{ dbt.concat(["'app://'", app, "'/'"]) }}
        when event_type = 'page_view' and page_name <> '' then page_name
        else '(not set)'
    end
{%- endmacro %}


{% macro page_value() -%}
    {{ return({
        'url': "nullif(url_full_url, '')",
        'screen': 'screen_name',
        'app': 'coalesce(app_name, app_package_name)',
        'app_package_name': 'app_package_name',
    }) }}
{%- endmacro %}


{% macro element_value() -%}
    {{ return({
        'path': 'target_raw_selector',
        'text': 'target_text',
        'app': 'coalesce(app_name, app_package_name)',
        'app_package_name': 'app_package_name',
    }) }}
{%- endmacro %}


{% macro page_value_id() -%}
    case
        when screen_name is not null or url_full_url <> ''
            then {{ short_hash_of(["'page'"] + page_value().values() | list) }}
    end
{%- endmacro %}


{% macro element_value_id() -%}
    case
        when target_raw_selector is not null or target_text is not null
            then {{ short_hash_of(["'element'"] + element_value().values() | list) }}
    end
{%- endmacro %}


{% macro is_page_view() -%}
    case
        when event_type = 'page_view' then true
        when event_type = 'navigate'
            then count(case when event_type = 'page_view' then 1 end) over (partition by full_session_id, view_id) = 0
        else false
    end
{%- endmacro %}


{% macro view_time(time) -%}
    {#- The feed has it from the visitor's device, whose clock may be wrong. -#}
    {%- set event_time = 'coalesce(event_time, processed_time)' -%}
    case
        when event_type = 'page_view' and abs({{ elapsed(time, event_time, 'second') }}) <= 86400 then {{ time }}
        else {{ event_time }}
    end
{%- endmacro %}
