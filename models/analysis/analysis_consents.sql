{{ fact('consent') }}
