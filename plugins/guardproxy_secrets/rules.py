"""The rule table: what the providers' documented key formats look like. Data only.

Sources: the providers' own pages on their tokens. A rule's example is made from it by a test, so that
nothing in this repository is, or looks like, a real key.
"""

from dataclasses import dataclass

WORD = "[A-Za-z0-9]"
URL_SAFE = "[A-Za-z0-9_-]"
HEX = "[a-f0-9]"
BASE64 = "[A-Za-z0-9+/]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of key: `prefix` (a pattern that begins it), then `least` to `most` of `alphabet`.

    Without `most` the key is as long as its run of characters.
    `keyword` is the literal that any text with such a key holds. What tells a key from other text
    must lie within its first 90 characters.
    """

    category: str
    keyword: str
    prefix: str
    alphabet: str
    least: int
    most: int | None = None
    random: bool = True  # the body must not look like words or a placeholder


def exact(category: str, prefix: str, length: int, alphabet: str = WORD, pattern: str = "") -> Rule:
    """A key of one length: `prefix` is the literal that begins it, `pattern` its form where it varies."""
    return Rule(category, prefix, pattern or _literal(prefix), alphabet, length, length)


def run(category: str, prefix: str, least: int, alphabet: str = URL_SAFE, pattern: str = "") -> Rule:
    """A key of at least `least` characters behind its prefix."""
    return Rule(category, prefix, pattern or _literal(prefix), alphabet, least)


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-/:=@" else f"\\{c}" for c in text)


RULES: tuple[Rule, ...] = (
    # Cloud providers
    *(exact("AWS_ACCESS_KEY", prefix, 16, "[A-Z2-7]") for prefix in ("AKIA", "ASIA", "ABIA", "ACCA")),
    run("AWS_BEDROCK_KEY", "ABSK", 80, "[A-Za-z0-9+/=]"),
    exact("GOOGLE_API_KEY", "AIza", 35, URL_SAFE),
    run("GOOGLE_OAUTH_SECRET", "GOCSPX-", 24),
    run("GOOGLE_OAUTH_TOKEN", "ya29.", 30, "[A-Za-z0-9_.-]"),
    Rule("AZURE_CLIENT_SECRET", "Q~", "[A-Za-z0-9_~.]{3}[0-9]Q~", "[A-Za-z0-9_~.-]", 31, 34),
    run("AZURE_STORAGE_KEY", "AccountKey=", 40, "[A-Za-z0-9+/=]"),
    run("AZURE_SAS_TOKEN", "SharedAccessKey=", 40, "[A-Za-z0-9+/=]"),
    run("AZURE_SAS_TOKEN", "SharedAccessSignature=", 40, "[A-Za-z0-9+/=%&]"),
    run("AZURE_SAS_TOKEN", "sig=", 40, "[A-Za-z0-9+/=%]", "[?&;]sig="),
    exact("ALIBABA_ACCESS_KEY", "LTAI", 20),
    exact("TENCENT_SECRET_ID", "AKID", 32),
    exact("DIGITALOCEAN_TOKEN", "dop_v1_", 64, HEX),
    exact("DIGITALOCEAN_TOKEN", "doo_v1_", 64, HEX),
    exact("DIGITALOCEAN_TOKEN", "dor_v1_", 64, HEX),
    run("HEROKU_API_KEY", "HRKU-", 36),
    run("YANDEX_CLOUD_KEY", "AQVN", 35, "[A-Za-z0-9_-]"),
    run("YANDEX_CLOUD_TOKEN", "t1.", 60, "[A-Za-z0-9_=.-]", "t1\\.[A-Z0-9a-z_-]"),
    run("SCALINGO_TOKEN", "tk-us-", 40),
    run("FLYIO_TOKEN", "fo1_", 43),
    run("FLYIO_TOKEN", "FlyV1 fm", 40, "[A-Za-z0-9+/=,_]", "FlyV1 fm[12][ar]?_"),
    run("FLYIO_TOKEN", "fm1r_", 40, "[A-Za-z0-9+/=,_]"),
    run("FLYIO_TOKEN", "fm2_", 40, "[A-Za-z0-9+/=,_]"),
    run("CLOUDFLARE_ORIGIN_CA_KEY", "v1.0-", 60, HEX, "v1\\.0-[a-f0-9]{24}-"),
    run("VERCEL_TOKEN", "vcp_", 40),
    run("NETLIFY_TOKEN", "nfp_", 36),
    run("SUPABASE_TOKEN", "sbp_", 40),
    run("SUPABASE_SECRET_KEY", "sb_secret_", 24),
    run("PLANETSCALE_PASSWORD", "pscale_pw_", 32, "[A-Za-z0-9_=.-]"),
    run("PLANETSCALE_TOKEN", "pscale_tkn_", 32, "[A-Za-z0-9_=.-]"),
    run("PLANETSCALE_OAUTH_TOKEN", "pscale_oauth_", 32, "[A-Za-z0-9_=.-]"),
    exact("PULUMI_TOKEN", "pul-", 40, HEX),
    run("HASHICORP_VAULT_TOKEN", "hvs.", 24),
    run("HASHICORP_VAULT_TOKEN", "hvb.", 24),
    run("HASHICORP_TERRAFORM_TOKEN", ".atlasv1.", 60, "[A-Za-z0-9_=-]", "[A-Za-z0-9]{14}\\.atlasv1\\."),
    run("INFRACOST_KEY", "ico-", 32, WORD),
    run("OPENSHIFT_TOKEN", "sha256~", 43),
    run("DATABRICKS_TOKEN", "dapi", 32, "[a-f0-9-]"),
    exact("CLOJARS_TOKEN", "CLOJARS_", 60, "[a-z0-9]"),
    # JSON Web Tokens: base64 of `{"alg":`, `{"typ":` and the like
    *(
        run("JSON_WEB_TOKEN", prefix, 32, "[A-Za-z0-9_.-]")
        for prefix in ("eyJhbGciOi", "eyJ0eXAiOi", "eyJraWQiOi", "eyJqa3UiOi", "eyJjdHkiOi", "eyJ4NXQiOi")
    ),
    # Code and packages
    *(exact("GITHUB_TOKEN", f"gh{kind}_", 36) for kind in "pousr"),
    run("GITHUB_TOKEN", "github_pat_", 40, "[A-Za-z0-9_]"),
    *(
        run("GITLAB_TOKEN", prefix, 20, "[A-Za-z0-9_.-]")
        for prefix in (
            *("glpat-", "glptt-", "gldt-", "glrt-", "glft-", "glsoat-", "glcbt-", "glimt-", "glagent-"),
            *("gloas-", "glffct-", "GR1348941", "glwt-"),
        )
    ),
    exact("GITLAB_TOKEN", "_gitlab_session=", 32),
    exact("NPM_TOKEN", "npm_", 36),
    run("PYPI_TOKEN", "pypi-AgEIcHlwaS5vcmc", 50),
    run("PYPI_TOKEN", "pypi-AgENdGVzdC5weXBpLm9yZw", 50),
    exact("RUBYGEMS_TOKEN", "rubygems_", 48, HEX),
    exact("CRATES_TOKEN", "cio", 32),
    run("NUGET_KEY", "oy2", 43, "[a-z0-9]"),
    run("DOCKER_TOKEN", "dckr_pat_", 24),
    run("DOCKER_TOKEN", "dckr_oat_", 24),
    run("JFROG_KEY", "AKCp", 60, WORD),
    run("JFROG_TOKEN", "cmVmdGtu", 48, WORD),
    run("ATLASSIAN_TOKEN", "ATATT3", 60, "[A-Za-z0-9_=-]"),
    run("ATLASSIAN_TOKEN", "ATCTT3", 60, "[A-Za-z0-9_=-]"),
    run("BITBUCKET_TOKEN", "ATBB", 24, WORD),
    exact("SONAR_TOKEN", "squ_", 40, HEX),
    exact("SONAR_TOKEN", "sqp_", 40, HEX),
    exact("SONAR_TOKEN", "sqa_", 40, HEX),
    exact("SOURCEGRAPH_TOKEN", "sgp_", 40, "[a-fA-F0-9]", "sgp_(?:[a-fA-F0-9]{16}_|local_)?"),
    run("SNYK_TOKEN", "snyk_", 36),
    run("CIRCLECI_TOKEN", "CCIPAT_", 40, "[A-Za-z0-9_]"),
    run("BUILDKITE_TOKEN", "bkua_", 36),
    run("HARNESS_KEY", "pat.", 60, "[A-Za-z0-9_.-]", "[ps]at\\.[A-Za-z0-9_-]{22}\\."),
    run("HARNESS_KEY", "sat.", 60, "[A-Za-z0-9_.-]", "sat\\.[A-Za-z0-9_-]{22}\\."),
    # Machine learning
    run("OPENAI_API_KEY", "sk-proj-", 40),
    run("OPENAI_API_KEY", "sk-svcacct-", 40),
    run("OPENAI_API_KEY", "sk-admin-", 40),
    run("OPENAI_API_KEY", "T3BlbkFJ", 20, WORD, "sk-[A-Za-z0-9]{20}T3BlbkFJ"),
    run("ANTHROPIC_API_KEY", "sk-ant-", 90),
    run("OPENROUTER_API_KEY", "sk-or-v1-", 40, HEX),
    run("LANGCHAIN_KEY", "lsv2_", 32, "[a-f0-9_]", "lsv2_(?:pt|sk)_"),
    exact("HUGGINGFACE_TOKEN", "hf_", 34),
    exact("HUGGINGFACE_TOKEN", "api_org_", 34),
    exact("REPLICATE_TOKEN", "r8_", 37),
    exact("GROQ_API_KEY", "gsk_", 52),
    run("PERPLEXITY_API_KEY", "pplx-", 48, WORD),
    run("XAI_API_KEY", "xai-", 70, WORD),
    run("NVIDIA_API_KEY", "nvapi-", 50),
    run("ELEVENLABS_API_KEY", "sk_", 48, HEX),
    run("TAVILY_API_KEY", "tvly-", 28),
    run("PINECONE_API_KEY", "pcsk_", 50),
    run("LANGFUSE_KEY", "sk-lf-", 36),
    # Payments and commerce
    *(
        run("STRIPE_KEY", f"{kind}_{mode}_", 10, WORD)
        for kind in ("sk", "rk")
        for mode in ("live", "test", "prod")
    ),
    run("STRIPE_WEBHOOK_SECRET", "whsec_", 32, WORD),
    run("SQUARE_TOKEN", "EAAA", 60, "[A-Za-z0-9_-]"),
    run("SQUARE_TOKEN", "sq0atp-", 22),
    exact("SQUARE_SECRET", "sq0csp-", 43, URL_SAFE),
    *(
        exact("SHOPIFY_TOKEN", prefix, 32, "[a-fA-F0-9]")
        for prefix in ("shpat_", "shpca_", "shppa_", "shpss_")
    ),
    run("BRAINTREE_TOKEN", "access_token$production$", 48, "[a-z0-9$]"),
    run("FLUTTERWAVE_KEY", "FLWSECK", 32, "[A-Za-z0-9-]", "FLWSECK(?:_TEST)?-"),
    run("FLUTTERWAVE_KEY", "FLWPUBK", 32, "[A-Za-z0-9-]", "FLWPUBK(?:_TEST)?-"),
    run("EASYPOST_KEY", "EZAK", 54, WORD),
    run("EASYPOST_KEY", "EZTK", 54, WORD),
    run("DUFFEL_TOKEN", "duffel_", 43, "[A-Za-z0-9_=-]", "duffel_(?:test|live)_"),
    run("SHIPPO_TOKEN", "shippo_", 40, HEX, "shippo_(?:live|test)_"),
    run("ADYEN_KEY", "AQE", 60, "[A-Za-z0-9+/=.*_{}|()-]", "AQE[A-Za-z]hm"),
    # Messages and mail
    run("SLACK_TOKEN", "xox", 20, "[A-Za-z0-9-]", "xox[abeoprs](?:\\.xox[bp])?-(?:[0-9]-)?"),
    run("SLACK_TOKEN", "xapp-", 20, "[A-Za-z0-9-]", "xapp-[0-9]-"),
    run(
        "SLACK_WEBHOOK",
        "hooks.slack.com/",
        30,
        "[A-Za-z0-9+/]",
        "hooks\\.slack\\.com/(?:services|workflows|triggers)/",
    ),
    run(
        "TEAMS_WEBHOOK", ".webhook.office.com/", 60, "[A-Za-z0-9/@-]", "\\.webhook\\.office\\.com/webhookb2/"
    ),
    run("DISCORD_WEBHOOK", "/api/webhooks/", 60, "[A-Za-z0-9/_-]", "discord(?:app)?\\.com/api/webhooks/"),
    Rule("TELEGRAM_BOT_TOKEN", ":AA", "[0-9]{8,10}:AA", URL_SAFE, 33, 33),
    run("SENDGRID_API_KEY", "SG.", 60, "[A-Za-z0-9_=.-]"),
    run("SENDINBLUE_API_KEY", "xkeysib-", 64, "[a-f0-9A-Za-z-]"),
    exact("TWILIO_API_KEY", "SK", 32, "[0-9a-fA-F]"),
    run("MAILGUN_KEY", "key-", 32, HEX),
    Rule("MAILCHIMP_KEY", "-us", "[a-f0-9]{32}-us", "[0-9]", 1, 2, random=False),
    run("RESEND_KEY", "re_", 30, "[A-Za-z0-9_]"),
    # Services
    run("LAUNCHDARKLY_KEY", "sdk-", 36, "[a-f0-9-]"),
    run("LAUNCHDARKLY_KEY", "api-", 36, "[a-f0-9-]"),
    run("FACEBOOK_APP_TOKEN", "|", 20, URL_SAFE, "[0-9]{13,17}\\|"),
    run("BCRYPT_HASH", "$2", 53, "[A-Za-z0-9./]", "\\$2[abxy]\\$[0-9]{2}\\$"),
    run("CRYPT_HASH", "$", 22, "[A-Za-z0-9./]", "\\$[156]\\$[A-Za-z0-9./]{1,16}\\$"),
    run("DATADOG_KEY", "ddp_", 34, WORD),
    run("NEW_RELIC_KEY", "NRAK-", 27, "[A-Za-z0-9]"),
    run("NEW_RELIC_KEY", "NRJS-", 19, "[a-f0-9]"),
    run("NEW_RELIC_KEY", "NRII-", 32, URL_SAFE),
    Rule("NEW_RELIC_KEY", "NRAL", "[a-f0-9]{36}NRAL", WORD, 0, 0, random=False),
    run("SENTRY_TOKEN", "sntrys_", 60, "[A-Za-z0-9+/=_-]"),
    run("SENTRY_TOKEN", "sntryu_", 60, HEX),
    run("GRAFANA_TOKEN", "glsa_", 41, "[A-Za-z0-9_]"),
    run("GRAFANA_TOKEN", "glc_eyJ", 32, "[A-Za-z0-9+/=]"),
    run("GRAFANA_API_KEY", "eyJrIjoi", 60, "[A-Za-z0-9+/=]"),
    run("DYNATRACE_TOKEN", "dt0c01.", 60, "[A-Z0-9.]"),
    run("POSTMAN_KEY", "PMAK-", 59, "[a-fA-F0-9-]"),
    run("LINEAR_API_KEY", "lin_api_", 40, WORD),
    run("NOTION_TOKEN", "ntn_", 40, WORD),
    exact("NOTION_TOKEN", "secret_", 43),
    run("AIRTABLE_TOKEN", "pat", 60, HEX, "pat[A-Za-z0-9]{14}\\."),
    run("FIGMA_TOKEN", "figd_", 36),
    run("ASANA_TOKEN", "1/", 32, "[a-f0-9]", "1/[0-9]{15,17}:"),
    run("DROPBOX_TOKEN", "sl.", 80, "[A-Za-z0-9_=-]"),
    run("FACEBOOK_TOKEN", "EAA", 80, WORD, "EAA[MC]"),
    Rule("OKTA_TOKEN", "SSWS ", "SSWS 00", URL_SAFE, 38),
    run("ONEPASSWORD_TOKEN", "ops_eyJ", 60, "[A-Za-z0-9+/=_-]"),
    Rule(
        "ONEPASSWORD_SECRET_KEY",
        "A3-",
        "A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-",
        "[A-Z0-9-]",
        17,
        17,
    ),
    run("DOPPLER_TOKEN", "dp.", 40, WORD, "dp\\.(?:pt|ct|st|sa|scim|audit)\\.(?:[a-z0-9_-]{2,35}\\.)?"),
    run("TAILSCALE_KEY", "tskey-", 20, "[A-Za-z0-9-]", "tskey-[a-z]+-"),
    run("AGE_SECRET_KEY", "AGE-SECRET-KEY-1", 58, "[A-Z0-9]"),
    run("READMEIO_KEY", "rdme_", 70, "[a-z0-9]"),
    run("TYPEFORM_TOKEN", "tfp_", 59, "[A-Za-z0-9_.=-]"),
    run("FRAMEIO_TOKEN", "fio-u-", 64, "[A-Za-z0-9_=-]"),
    run("PREFECT_KEY", "pnu_", 36, WORD),
    run("CONTENTFUL_TOKEN", "CFPAT-", 43),
    run("INTRA42_SECRET", "s-s4t2", 64, HEX, "s-s4t2(?:af|ud)-"),
    run("MAPBOX_TOKEN", "sk.eyJ", 60, "[A-Za-z0-9_.-]"),
    run("MAPBOX_TOKEN", "pk.eyJ", 60, "[A-Za-z0-9_.-]"),
    run("RAPYD_KEY", "rsk_", 60, HEX),
    run("SETTLEMINT_TOKEN", "sm_", 16, WORD, "sm_(?:pat|aat|sat)_"),
    Rule("MAXMIND_KEY", "_mmk", "[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk", WORD, 0, 0, random=False),
    run("DEFINED_NETWORKING_TOKEN", "dnkey-", 60, "[a-z0-9=_-]"),
    run("POSTHOG_KEY", "phx_", 40),
)
