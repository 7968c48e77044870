{# Where a session came from: what the URL of its first page and its referrer say, and the channel that this makes. #}

{% macro utm_parameters() -%}
    {{ return(['utm_source', 'utm_medium', 'utm_campaign', 'utm_term', 'utm_content', 'utm_id']) }}
{%- endmacro %}


{# Facebook and Instagram mark every link, not only those of ads: theirs go last, and mean no more than a referrer. -#}
{% macro click_ids() -%}
    {{ return({
        'gclid': ['google', 'cpc'],
        'gbraid': ['google', 'cpc'],
        'wbraid': ['google', 'cpc'],
        'dclid': ['google', 'cpm'],
        'msclkid': ['bing', 'cpc'],
        'yclid': ['yandex', 'cpc'],
        'ttclid': ['tiktok', 'paid'],
        'twclid': ['twitter', 'paid'],
        'li_fat_id': ['linkedin', 'paid'],
        'rdt_cid': ['reddit', 'paid'],
        'ScCid': ['snapchat', 'paid'],
        'epik': ['pinterest', 'paid'],
        'igshid': ['instagram', 'referral'],
        'fbclid': ['facebook', 'referral'],
    }) }}
{%- endmacro %}


{% macro query_parameter(query, name) -%}
    {#- By its parts, as a pattern has no way to keep what it matches. An address with two question marks is read, too. -#}
    {%- set after = dbt.split_part(
        dbt.concat(["'&'", dbt.replace(query, "'?'", "'&'")]), "'&" ~ name ~ "='", 2
    ) -%}
    case when {{ query }} like '%{{ name }}=%' then nullif({{ dbt.split_part(after, "'&'", 1) }}, '') end
{%- endmacro %}


{% macro click_id_case(place) -%}
    case click_id_name
        {%- for name, means in click_ids().items() %}
        when '{{ name }}' then '{{ means[place] }}'
        {%- endfor %}
    end
{%- endmacro %}


{% macro as_said(parameter) -%}
    {#- No warehouse decodes a URL by a function that the others have, too. A space is all that the rules ask for. -#}
    nullif(trim(lower({{ dbt.replace(dbt.replace(parameter, "'+'", "' '"), "'%20'", "' '") }})), '')
{%- endmacro %}


{% macro host_alone(host) -%}
    {{ without('lower(' ~ host ~ ')', [':[0-9]*$', '^www[.]']) }}
{%- endmacro %}


{% macro source_name(source) -%}
    case
        when {{ source }} like '%.%'
            then
                {{ without(source, [
                    '^(www|m|l|lm|mobile|amp|out|old)[.]',
                    '([.](com|co|net|org))?[.][a-z]+$',
                ]) }}
        else {{ source }}
    end
{%- endmacro %}


{% macro channel(source, medium, campaign, category) -%}
    {%- set is_paid -%}
        ({{ medium }} like '%cp%' or {{ medium }} like 'paid%' or {{ medium }} in ('ppc', 'retargeting'))
    {%- endset -%}
    {%- set is_shopping -%}
        ({{ category }} = 'shopping' or {{ matches(campaign, '(.*[^a-df-z])?shop.*|.*shopping.*') }})
    {%- endset -%}
    {%- set mail = "('email', 'e-mail', 'e_mail', 'e mail')" -%}
    case
        when {{ source }} is null and {{ medium }} is null and {{ campaign }} is null then 'Direct'
        when {{ source }} = '(direct)' and coalesce({{ medium }}, '(none)') in ('(none)', '(not set)') then 'Direct'
        when {{ campaign }} like '%cross-network%' then 'Cross-network'
        when {{ is_shopping }} and {{ is_paid }} then 'Paid Shopping'
        when {{ category }} = 'search' and {{ is_paid }} then 'Paid Search'
        when {{ category }} = 'social' and {{ is_paid }} then 'Paid Social'
        when {{ category }} = 'video' and {{ is_paid }} then 'Paid Video'
        when {{ medium }} in ('display', 'banner', 'expandable', 'interstitial', 'cpm') then 'Display'
        when {{ is_paid }} then 'Paid Other'
        when {{ is_shopping }} then 'Organic Shopping'
        when
            {{ category }} = 'social'
            or {{ medium }} in ('social', 'social-network', 'social-media', 'sm', 'social network', 'social media')
            then 'Organic Social'
        when {{ category }} = 'video' or {{ medium }} like '%video%' then 'Organic Video'
        when {{ category }} = 'search' or {{ medium }} = 'organic' then 'Organic Search'
        when {{ source }} in {{ mail }} or {{ medium }} in {{ mail }} then 'Email'
        when {{ medium }} = 'affiliate' then 'Affiliates'
        when {{ medium }} in ('referral', 'app', 'link') then 'Referral'
        when {{ medium }} = 'audio' then 'Audio'
        when {{ source }} = 'sms' or {{ medium }} = 'sms' then 'SMS'
        when
            {{ source }} = 'firebase'
            or {{ medium }} like '%push'
            or {{ medium }} like '%mobile%'
            or {{ medium }} like '%notification%'
            then 'Mobile Push Notifications'
        else 'Unassigned'
    end
{%- endmacro %}
