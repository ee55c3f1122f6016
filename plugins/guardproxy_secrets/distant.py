"""Secrets whose name stands further away: in sentences, in commands, in cookies."""

from guardproxy_secrets.surroundings import GENERIC, QUOTED, RUN, Context
from guardproxy_secrets.values import argument, header, named, spoken_of

_NAME = "(?i:passwor[dt]|kennwort|passphrase|passcode|passwd|pass|pwd|pw)"
# for the staging server, of bob, f\u00fcr den Server; NUL stands for a letter that is not ASCII
_ABOUT = r"[ ](?:[A-Za-z]{2,4}|f\x00r)(?:[ ][A-Za-z0-9_@'/.-]{0,13}[A-Za-z0-9_'-]){1,3}?"
_IS = r"(?:[ ](?i:is|was|ist|war|est?)(?:[ ]now)?[ ]?:?[ ]|[ ]?:[ ]{1,2})"
_ARGUMENTS = r"[ ](?:[^\r\n|;&]{0,36}[ ])??"  # those before the option, of the same command
_COMMANDS = "|".join(
    (
        rf"(?:mysql|mariadb)[a-z]{{0,6}}{_ARGUMENTS}-p",
        rf"7za?{_ARGUMENTS}-p",
        "sshpass[ ]-p",
        rf"(?:[a-z]{{2,8}}[ ](?:registry[ ])?login|mongo[a-z]{{0,7}}){_ARGUMENTS}-p[ ]{{1,2}}",
        rf"redis-cli{_ARGUMENTS}-a[ ]{{1,2}}",
        rf"(?:un)?zip{_ARGUMENTS}-P[ ]{{1,2}}",
        rf"ldap[a-z]{{3,8}}{_ARGUMENTS}-w[ ]{{1,2}}",
    )
)

DISTANT: tuple[Context, ...] = (
    Context(
        "named",  # with nothing but a blank between: user admin pass ...
        GENERIC,
        "(?i)pass[a-z]{0,6}[ \t]|pwd[ \t]|pw[ \t]|kennwort[ \t]",
        rf"(?:\b|_){_NAME}[ \t]{{1,2}}",
        RUN,
        6,
        named,
        finds=(
            "PASSWORD S3cr3t!x",
            "Login with username admin and password P@ssw0rd.",
            "user admin pass Winter2024!",
            "\u043f\u0430\u0440\u043e\u043b\u044c Tr0ub4dor&3",
        ),
        leaves=(
            "the password must have a digit",
            "password reset",
            "password v1.2.3 and password field2",
            "password MD5/SHA1 hash, or utf8mb4",
            "pass SHA-256 and Python3.11+",
            "pass the x86_64 arch, pass through2",
            "pass arg1=val2!",
            "pass src/a1b2.py:12",
            "pass test_a1b2",
            "I cannot pass Alg&#8230;",
            "pass  # noqa: E501",
            "password user@example2.com",
            "pass 95.5%! of 2FA-protected",
        ),
    ),
    Context(
        "spoken-of",
        GENERIC,
        "(?i)pass[a-z]{0,6} |pwd |pw |kennwort ",
        rf"{_NAME}{_ABOUT}{_IS}{QUOTED}",
        RUN,
        6,
        spoken_of,
        finds=(
            "The password for the vpn is Tr0ub4dor&3",
            "Password for bob: Xk29!fjq77",
            "the passphrase of my key was '{10}'",
            "Das Passwort f\u00fcr den Server ist Tr0ub4dor&3",
            "La contrase\u00f1a para el servidor es {10}",
        ),
        leaves=(
            "Password for the account is required",
            "Password for the account: required!",
            "password for the account is 2FA-protected",
            "the password for the file is base64-encoded",
            "The password for sha256 is md5crypt",
            "the password for this is $PASS2word",
            "the pass rate of this is 99-percent",
        ),
    ),
    Context(
        "command",
        GENERIC,
        " -[pPaw]",
        rf"\b(?:{_COMMANDS}){QUOTED}",
        RUN,
        6,
        argument,
        finds=(
            "mysql -u root -pS3cr3tx99",
            "mysqldump -h db -p'S3cr3t;x9' app",
            "sshpass -p 'S3cr3t!x9' ssh x",
            "redis-cli -a S3cr3t!x9",
            "redis-cli -h cache -p 6379 -a {12} ping",
            "docker login -u me -p S3cr3t!x9",
            "helm registry login x.example -u me -p {12}",
            "mongosh -u me -p {12}",
            "ldapsearch -D cn=x -w {12}",
            "unzip -P {12} a.zip",
        ),
        leaves=(
            "docker run -p 8080:80 image",
            "docker login && docker run -p 8080:80a1b2",
            "ls -a S3cr3t!x9",
            "mkdir -p S3cr3t!x9",
            "mysql -u root -p mydb12",
            "mysql -u root -p$MYSQL_PWD1",
            'redis-cli -a "$REDIS_PASS1"',
            'docker login -u me -p "${{ secrets.TOKEN1 }}"',
        ),
    ),
    Context(
        "session",
        GENERIC,
        "(?i)cookie|sessi?o?n?_?id=|connect.sid=",
        r"(?:(?i:cookie)[\"']?[:=,][ ]{0,2}[\"']?(?:[^\r\n]{0,36}[; ])??"
        r"[A-Za-z_.-]{0,12}(?i:sess(?:ion)?(?:[_.-]?id)?|sid|auth|token|jwt)"
        r"|PHPSESSID|JSESSIONID|connect\.sid|ASP\.NET_SessionId|\bsessionid)=",
        "[A-Za-z0-9._~+/%=-]",
        16,
        header,
        finds=(
            "Cookie: sessionid={32h}",
            "Cookie: theme=dark; lang=en-US; my_session={32}; x=1",
            "Set-Cookie: PHPSESSID={26}; path=/",
            "curl -b 'JSESSIONID={32}' x",
        ),
        leaves=(
            "Cookie: theme=dark; lang=en-US",
            "Cookie: sessionid=<32 hex digits>",
            "Set-Cookie: sessionid=deleted; expires=Thu, 01 Jan 1970",
            "session_id = 123e4567-e89b-12d3-a456-426614174000",
        ),
    ),
)
