{{ fact('console_message') }}
