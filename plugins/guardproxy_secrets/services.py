"""The rules for payments, messages and other services. Data only."""

from guardproxy_secrets.checks import json_inside, mixed, numbered
from guardproxy_secrets.rule import BASE64, HEX, URL_SAFE, WORD, Rule, exact, of, run

SERVICES: tuple[Rule, ...] = (
    # Payments and commerce
    *of(
        "Stripe",
        (
            run("STRIPE_KEY", f"{kind}_{mode}_", 10, WORD)
            for kind in ("sk", "rk")
            for mode in ("live", "test", "prod")
        ),
        run("STRIPE_KEY", "sk_org_", 40, "[A-Za-z0-9_]"),
        run("STRIPE_WEBHOOK_SECRET", "whsec_", 32, BASE64),
    ),
    *of(
        "Square",
        run("SQUARE_TOKEN", "EAAA", 60, URL_SAFE),
        run("SQUARE_TOKEN", "sq0atp-", 22),
        exact("SQUARE_SECRET", "sq0csp-", 43, URL_SAFE),
    ),
    *of(
        "Shopify",
        (
            exact("SHOPIFY_TOKEN", prefix, 32, "[a-fA-F0-9]")
            for prefix in ("shpat_", "shpca_", "shppa_", "shpss_", "shptka_")
        ),
    ),
    *of(
        "Braintree",
        run(
            "BRAINTREE_TOKEN",
            "access_token$",
            48,
            "[a-z0-9$]",
            "access_token\\$(?:production|sandbox)\\$",
            sample="access_token$production$",
        ),
    ),
    *of(
        "Flutterwave",
        run("FLUTTERWAVE_KEY", "FLWSECK", 32, "[A-Za-z0-9-]", "FLWSECK(?:_TEST)?-", sample="FLWSECK-"),
        run("FLUTTERWAVE_KEY", "FLWPUBK", 32, "[A-Za-z0-9-]", "FLWPUBK(?:_TEST)?-", sample="FLWPUBK_TEST-"),
    ),
    *of("EasyPost", run("EASYPOST_KEY", "EZAK", 54, WORD), run("EASYPOST_KEY", "EZTK", 54, WORD)),
    *of(
        "Plaid",
        run(
            "PLAID_TOKEN",
            "access-",
            36,
            "[a-f0-9-]",
            "access-(?:sandbox|development|production)-",
            sample="access-production-",
        ),
    ),
    *of(
        "Klarna",
        run("KLARNA_KEY", "klarna_", 24, BASE64, "klarna_(?:live|test)_api_", sample="klarna_live_api_"),
    ),
    *of("GoCardless", exact("GOCARDLESS_TOKEN", "live_", 40, URL_SAFE)),
    *of("Lob", exact("LOB_KEY", "live_", 35, HEX)),
    *of("Razorpay", exact("RAZORPAY_KEY", "rzp_", 14, WORD, "rzp_(?:live|test)_", sample="rzp_live_")),
    *of(
        "Xendit",
        run("XENDIT_KEY", "xnd_", 40, WORD, "xnd_(?:production|development)_", sample="xnd_production_"),
    ),
    *of(
        "Paddle",
        run("PADDLE_KEY", "pdl_", 40, "[A-Za-z0-9_]", "pdl_(?:live|sdbx)_apikey_", sample="pdl_live_apikey_"),
    ),
    *of("Polar", run("POLAR_TOKEN", "polar_", 40, WORD, "polar_(?:oat|pat|at_u|rt_u)_", sample="polar_oat_")),
    *of(
        "Duffel",
        run("DUFFEL_TOKEN", "duffel_", 43, "[A-Za-z0-9_=-]", "duffel_(?:test|live)_", sample="duffel_live_"),
    ),
    *of("Shippo", run("SHIPPO_TOKEN", "shippo_", 40, HEX, "shippo_(?:live|test)_", sample="shippo_live_")),
    *of("Adyen", run("ADYEN_KEY", "AQE", 60, "[A-Za-z0-9+/=.*_{}|()-]", "AQE[A-Za-z]hm", sample="AQExhm")),
    # Messages and mail
    *of(
        "Slack",
        run(
            "SLACK_TOKEN",
            "xox",
            20,
            "[A-Za-z0-9-]",
            "xox[abceoprs](?:\\.xox[bp])?-(?:[0-9]-)?",
            sample="xoxe.xoxp-1-",
            unlike=("xoxb-xoxb-my-bot-token", "xoxp-1234-1234-1234-{32h}"),
        ),
        # the cookie of a browser's session, as it is sent: with percent escapes
        run("SLACK_TOKEN", "xoxd-", 40, "[A-Za-z0-9%+/=-]"),
        run("SLACK_TOKEN", "xapp-", 20, "[A-Za-z0-9-]", "xapp-[0-9]-", sample="xapp-1-"),
        run(
            "SLACK_WEBHOOK",
            "hooks.slack.com/",
            30,
            "[A-Za-z0-9+/]",
            "hooks\\.slack\\.com/(?:services|workflows|triggers)/",
            sample="hooks.slack.com/services/",
        ),
    ),
    *of(
        "Microsoft Teams",
        run(
            "TEAMS_WEBHOOK",
            ".webhook.office.com/",
            60,
            "[A-Za-z0-9/@-]",
            "\\.webhook\\.office\\.com/webhookb2/",
            sample=".webhook.office.com/webhookb2/",
        ),
        run("TEAMS_WEBHOOK", "outlook.office.com/webhook/", 60, "[A-Za-z0-9/@-]"),
    ),
    *of(
        "Discord",
        run(
            "DISCORD_WEBHOOK",
            "/api/webhooks/",
            60,
            "[A-Za-z0-9/_-]",
            "discord(?:app)?\\.com/api/webhooks/",
            sample="discord.com/api/webhooks/",
        ),
        # the bot's id in base64, a time, and the signature
        exact(
            "DISCORD_BOT_TOKEN",
            ".",
            38,
            URL_SAFE,
            r"[MNO][A-Za-z0-9]{23,25}\.[A-Za-z0-9_-]{6}\.",
            sample="MTIzNDU2Nzg5MDEyMzQ1Njc4.{6w}.",
            check=numbered,
        ),
    ),
    *of("Telegram", Rule("TELEGRAM_BOT_TOKEN", ":AA", "[0-9]{8,10}:AA", URL_SAFE, 33, 33, sample="{10d}:AA")),
    *of("SendGrid", run("SENDGRID_API_KEY", "SG.", 60, "[A-Za-z0-9_=.-]")),
    *of(
        "Brevo (Sendinblue)",
        run("SENDINBLUE_API_KEY", "xkeysib-", 64, "[a-f0-9A-Za-z-]"),
        run("SENDINBLUE_API_KEY", "xsmtpsib-", 64, "[a-f0-9A-Za-z-]"),
    ),
    *of("Twilio", exact("TWILIO_API_KEY", "SK", 32, "[0-9a-fA-F]")),
    *of(
        "Mailgun",
        run("MAILGUN_KEY", "key-", 32, HEX),
        Rule(
            "MAILGUN_KEY",
            "-",
            "[a-f0-9]{32}-[a-f0-9]{8}-",
            HEX,
            8,
            8,
            entropy=0,
            sample="{32h}-{8h}-",
        ),
    ),
    *of(
        "Mailchimp",
        Rule("MAILCHIMP_KEY", "-us", "[a-f0-9]{32}-us", "[0-9]", 1, 2, entropy=0, sample="{32h}-us"),
    ),
    *of("Mandrill", exact("MANDRILL_KEY", "md-", 22, URL_SAFE, check=mixed)),
    *of("MailerSend", run("MAILERSEND_TOKEN", "mlsn.", 60, HEX)),
    *of("Telnyx", run("TELNYX_KEY", "KEY0", 50, "[A-Za-z0-9_]")),
    *of("Twitch", run("TWITCH_TOKEN", "oauth:", 30, "[a-z0-9]")),
    *of("VK", run("VK_TOKEN", "vk1.a.", 60)),
    *of("Resend", exact("RESEND_KEY", "re_", 24, WORD, "re_[A-Za-z0-9]{8}_", sample="re_{8w}_", check=mixed)),
    # Services
    *of(
        "LaunchDarkly",
        run("LAUNCHDARKLY_KEY", "sdk-", 36, "[a-f0-9-]"),
        run("LAUNCHDARKLY_KEY", "api-", 36, "[a-f0-9-]"),
    ),
    *of("Facebook", run("FACEBOOK_APP_TOKEN", "|", 20, URL_SAFE, "[0-9]{13,17}\\|", sample="{16d}|")),
    *of(
        "crypt(3) hashes",
        run("BCRYPT_HASH", "$2", 53, "[A-Za-z0-9./]", "\\$2[abxy]\\$[0-9]{2}\\$", sample="$2b$12$"),
        run("CRYPT_HASH", "$", 22, "[A-Za-z0-9./]", "\\$[156]\\$[A-Za-z0-9./]{1,16}\\$", sample="$6${16w}$"),
        run(
            "CRYPT_HASH",
            "$apr1$",
            22,
            "[A-Za-z0-9./]",
            "\\$apr1\\$[A-Za-z0-9./]{1,8}\\$",
            sample="$apr1${8w}$",
        ),
        run(
            "CRYPT_HASH",
            "$argon2",
            30,
            "[A-Za-z0-9+/$=,]",
            "\\$argon2(?:id|i|d)\\$v=[0-9]{1,3}\\$",
            sample="$argon2id$v=19$",
        ),
        run(
            "CRYPT_HASH",
            "$y$",
            43,
            "[A-Za-z0-9./]",
            "\\$y\\$[A-Za-z0-9./]{2,8}\\$[A-Za-z0-9./]{8,32}\\$",
            sample="$y$j9T${22w}$",
        ),
        run("LDAP_HASH", "SHA}", 27, BASE64, "\\{S?SHA\\}", sample="{SSHA}"),
    ),
    *of("Datadog", run("DATADOG_KEY", "ddp_", 34, WORD)),
    *of(
        "New Relic",
        run("NEW_RELIC_KEY", "NRAK-", 27, "[A-Za-z0-9]"),
        run("NEW_RELIC_KEY", "NRJS-", 19, "[a-f0-9]"),
        run("NEW_RELIC_KEY", "NRII-", 32, URL_SAFE),
        Rule("NEW_RELIC_KEY", "NRAL", "[a-f0-9]{36}NRAL", WORD, 0, 0, entropy=0, sample="{36h}NRAL"),
    ),
    *of(
        "Sentry",
        run("SENTRY_TOKEN", "sntrys_", 60, "[A-Za-z0-9+/=_-]"),
        run("SENTRY_TOKEN", "sntryu_", 60, HEX),
    ),
    *of(
        "Grafana",
        run("GRAFANA_TOKEN", "glsa_", 41, "[A-Za-z0-9_]"),
        run("GRAFANA_TOKEN", "glc_eyJ", 32, BASE64, check=json_inside),
        run("GRAFANA_API_KEY", "eyJrIjoi", 60, BASE64, check=json_inside),
    ),
    *of("Dynatrace", run("DYNATRACE_TOKEN", "dt0", 60, "[A-Z0-9.]", "dt0[a-z][0-9]{2}\\.", sample="dt0c01.")),
    *of("Honeycomb", run("HONEYCOMB_KEY", "hca", 56, "[a-z0-9]", "hca[a-z]{2}_", sample="hcaik_")),
    *of("Elastic", run("ELASTIC_KEY", "essu_", 40, BASE64)),
    *of(
        "Octopus Deploy",
        exact("OCTOPUS_KEY", "API-", 26, "[A-Z0-9]", check=mixed, unlike=("API-CALCULADORADEINVESTIMENT",)),
    ),
    *of(
        "Rancher",
        exact("RANCHER_TOKEN", "token-", 54, "[a-z0-9]", "token-[a-z0-9]{5}:", sample="token-{5h}:"),
    ),
    *of("Postman", run("POSTMAN_KEY", "PMAK-", 59, "[a-fA-F0-9-]")),
    *of(
        "Linear",
        run("LINEAR_API_KEY", "lin_api_", 40, WORD),
        exact("LINEAR_OAUTH_TOKEN", "lin_oauth_", 64, HEX),
    ),
    *of("Notion", run("NOTION_TOKEN", "ntn_", 40, WORD), exact("NOTION_TOKEN", "secret_", 43)),
    *of("Teamwork", run("TEAMWORK_TOKEN", "tkn.v1_", 60, BASE64)),
    *of("Ubidots", run("UBIDOTS_TOKEN", "BBFF-", 30, WORD)),
    *of("Pagar.me", run("PAGARME_KEY", "ak_live_", 28, WORD)),
    *of("ClickUp", exact("CLICKUP_TOKEN", "pk_", 32, "[A-Z0-9]", "pk_[0-9]{6,9}_", sample="pk_{8d}_")),
    *of(
        "HubSpot",
        exact("HUBSPOT_TOKEN", "pat-", 36, "[a-f0-9-]", "pat-(?:na|eu|ap)[0-9]-", sample="pat-na1-"),
    ),
    *of(
        "Salesforce",
        run("SALESFORCE_TOKEN", "00D", 60, "[A-Za-z0-9_.]", "00D[A-Za-z0-9]{12,15}!", sample="00D{12w}!"),
    ),
    *of("Zapier", run("ZAPIER_WEBHOOK", "hooks.zapier.com/hooks/catch/", 12, "[A-Za-z0-9/]")),
    *of("WeCom", run("WECOM_WEBHOOK", "qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", 36, "[a-f0-9-]")),
    *of("Airtable", run("AIRTABLE_TOKEN", "pat", 60, HEX, "pat[A-Za-z0-9]{14}\\.", sample="pat{14w}.")),
    *of("Figma", (run("FIGMA_TOKEN", prefix, 36) for prefix in ("figd_", "figo_", "figu_"))),
    *of(
        "Asana",
        run("ASANA_TOKEN", "1/", 32, "[a-f0-9]", "1/[0-9]{15,17}:", sample="1/{16d}:"),
        run("ASANA_TOKEN", "2/", 32, "[a-f0-9]", "2/[0-9]{15,17}/[0-9]{15,17}:", sample="2/{16d}/{16d}:"),
    ),
    *of("Dropbox", run("DROPBOX_TOKEN", "sl.", 80, "[A-Za-z0-9_=-]", "sl\\.(?:u\\.)?")),
    *of("Facebook", run("FACEBOOK_TOKEN", "EAA", 80, WORD, "EAA[A-Z]", sample="EAAC")),
    *of("Okta", Rule("OKTA_TOKEN", "SSWS ", "SSWS 00", URL_SAFE, 38, sample="SSWS 00")),
    *of(
        "1Password",
        run("ONEPASSWORD_TOKEN", "ops_eyJ", 60, "[A-Za-z0-9+/=_-]", check=json_inside),
        Rule(
            "ONEPASSWORD_SECRET_KEY",
            "A3-",
            "A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-",
            "[A-Z0-9-]",
            17,
            17,
            sample="A3-{6u}-{11u}-",
        ),
    ),
    *of(
        "Doppler",
        run(
            "DOPPLER_TOKEN",
            "dp.",
            40,
            WORD,
            "dp\\.(?:pt|ct|st|sa|scim|audit)\\.(?:[a-z0-9_-]{2,35}\\.)?",
            sample="dp.st.dev.",
        ),
    ),
    *of(
        "Infisical",
        exact(
            "INFISICAL_TOKEN", "st.", 32, HEX, "st\\.[a-f0-9-]{24,36}\\.[a-f0-9]{16}", sample="st.{24h}.{16h}"
        ),
    ),
    *of("MongoDB Atlas", run("MONGODB_ATLAS_SECRET", "mdb_sa_sk_", 40)),
    *of("Neon", run("NEON_API_KEY", "napi_", 60, "[a-z0-9]")),
    *of("Render", exact("RENDER_API_KEY", "rnd_", 32)),
    *of("CockroachDB", run("COCKROACHDB_KEY", "CCDB1_", 40, "[A-Za-z0-9_]")),
    *of("Aiven", run("AIVEN_PASSWORD", "AVNS_", 18)),
    *of("ClickHouse", exact("CLICKHOUSE_SECRET", "4b1d", 38)),
    *of("Confluent", run("CONFLUENT_SECRET", "cflt", 56, BASE64)),
    *of("NetBird", exact("NETBIRD_TOKEN", "nbp_", 36)),
    *of("Tinybird", run("TINYBIRD_TOKEN", "p.eyJ", 60, "[A-Za-z0-9_.-]", check=json_inside)),
    *of(
        "Tailscale",
        run("TAILSCALE_KEY", "tskey-", 20, "[A-Za-z0-9-]", "tskey-[a-z]{1,16}-", sample="tskey-auth-"),
    ),
    *of("age", exact("AGE_SECRET_KEY", "AGE-SECRET-KEY-1", 58, "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]")),
    *of("ReadMe", run("READMEIO_KEY", "rdme_", 70, "[a-z0-9]")),
    *of("Typeform", run("TYPEFORM_TOKEN", "tfp_", 59, "[A-Za-z0-9_.=-]")),
    *of("Frame.io", run("FRAMEIO_TOKEN", "fio-u-", 64, "[A-Za-z0-9_=-]")),
    *of("Prefect", run("PREFECT_KEY", "pnu_", 36, WORD)),
    *of("Contentful", run("CONTENTFUL_TOKEN", "CFPAT-", 43)),
    *of("42 Intra", run("INTRA42_SECRET", "s-s4t2", 64, HEX, "s-s4t2(?:af|ud)-", sample="s-s4t2ud-")),
    *of(
        "Mapbox",
        run("MAPBOX_TOKEN", "sk.eyJ", 60, "[A-Za-z0-9_.-]", check=json_inside),
        run("MAPBOX_TOKEN", "pk.eyJ", 60, "[A-Za-z0-9_.-]", check=json_inside),
        run("MAPBOX_TOKEN", "tk.eyJ", 60, "[A-Za-z0-9_.-]", check=json_inside),
    ),
    *of("Rapyd", run("RAPYD_KEY", "rsk_", 60, HEX)),
    *of("SettleMint", run("SETTLEMINT_TOKEN", "sm_", 16, WORD, "sm_(?:pat|aat|sat)_", sample="sm_sat_")),
    *of(
        "MaxMind",
        Rule(
            "MAXMIND_KEY",
            "_mmk",
            "[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk",
            WORD,
            0,
            0,
            entropy=0,
            sample="{6w}_{29w}_mmk",
        ),
    ),
    *of("Defined Networking", run("DEFINED_NETWORKING_TOKEN", "dnkey-", 60, "[a-z0-9=_-]")),
    *of("PostHog", run("POSTHOG_KEY", "phx_", 40)),
)
