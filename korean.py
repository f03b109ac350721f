"""What Swagger UI and ReDoc say in Korean, beside the English that stands in the code."""

from typing import Any

# By operation: what it does, in English and in Korean, and the Korean of its description.
OPERATIONS = {
    "list_segments": (
        "List the segments",
        "세그먼트 목록",
        "모든 세그먼트를 오래된 순서대로 보여 줍니다.",
    ),
    "create_segment": (
        "Create a segment",
        "세그먼트 만들기",
        "세그먼트를 만듭니다. `criteria`에는 어떤 JSON 객체든 넣을 수 있습니다.",
    ),
    "get_segment": ("Show a segment", "세그먼트 보기", "세그먼트 하나를 보여 줍니다."),
    "change_segment": (
        "Change a segment",
        "세그먼트 수정",
        "보낸 항목만 바꾸고 나머지는 그대로 둡니다.",
    ),
    "delete_segment": (
        "Delete a segment",
        "세그먼트 삭제",
        "세그먼트를 삭제합니다. 이 세그먼트로 만든 콘텐츠와 성과는 그대로 남습니다.",
    ),
    "preview_text": (
        "Preview a text and its largest cost",
        "문안 생성 미리보기와 최대 비용",
        "OpenAI에 보낼 내용과 최대 비용을 보여 줍니다. 비용이 들지 않고 아무것도 저장하지 않습니다.",
    ),
    "generate_text": (
        "Generate text: marketing copy",
        "마케팅 문안 생성",
        "프롬프트의 언어로 마케팅 문안을 만듭니다. 세그먼트를 지정하면 그 고객층에 맞춰 씁니다. "
        "문안 `n`개가 작업 하나, 청구 한 건입니다.",
    ),
    "preview_image": (
        "Preview the largest cost of an image",
        "이미지 생성 미리보기와 최대 비용",
        "이 이미지의 최대 비용을 보여 줍니다. 비용이 들지 않고 아무것도 저장하지 않습니다.",
    ),
    "generate_image": (
        "Generate an image",
        "이미지 생성",
        "이미지 하나를 만들어 보관합니다. `image_url`로 언제든 열 수 있습니다.",
    ),
    "list_content_history": (
        "List what was generated",
        "생성 기록",
        "생성한 콘텐츠를 최신 순서대로 보여 줍니다.",
    ),
    "get_content": (
        "Show one text or image with all that is known of it",
        "콘텐츠 하나의 모든 정보",
        "콘텐츠 하나에 대해 요청한 내용, 비용, 성과를 모두 보여 줍니다.",
    ),
    "get_image": (
        "Open an image",
        "이미지 열기",
        "생성한 이미지를 엽니다. 보관되어 있는 동안 열립니다.",
    ),
    "add_metrics": (
        "Report what campaigns did",
        "캠페인 성과 보고",
        "캠페인 성과를 보고합니다. 수치 하나 또는 목록을 보낼 수 있고, 목록에서는 올바른 수치만 "
        "저장합니다.",
    ),
    "get_analytics_overview": (
        "Sum up all campaigns",
        "전체 캠페인 요약",
        "캠페인 성과의 합계와 콘텐츠 생성 비용을 보여 줍니다.",
    ),
    "list_content_figures": (
        "Compare contents, or groups of them, by what they did and cost",
        "콘텐츠별·그룹별 성과와 비용",
        "성과가 보고된 콘텐츠별로, 또는 세그먼트·톤·모델·캠페인별로 묶어 성과와 비용을 보여 줍니다.",
    ),
    "compare_variants": (
        "Compare the variants of one text",
        "문안 변형 비교",
        "한 번에 만든 문안들을 나란히 비교하고, 우연으로 보기 어려울 만큼 앞선 문안을 알려 줍니다.",
    ),
    "list_models": (
        "List the models and their prices",
        "모델과 가격 목록",
        "지정할 수 있는 모델의 가격과 종료일, 지금 대신 호출되는 모델을 보여 줍니다.",
    ),
    "get_costs_summary": (
        "Sum up what generation cost",
        "생성 비용 합계",
        "전체 사용자 또는 한 사용자의 생성 비용을 보여 줍니다.",
    ),
    "list_costs_history": (
        "List every job and its cost",
        "작업별 비용 기록",
        "OpenAI 호출과 비용을 최신 순서대로 빠짐없이 보여 줍니다.",
    ),
    "settle_job": (
        "Settle what a job of unknown cost did cost",
        "비용을 알 수 없는 작업의 비용 확정",
        "비용을 알 수 없던 작업의 실제 비용을 OpenAI 청구서대로 기록합니다. 누가 확정했는지도 남습니다.",
    ),
    "create_key": (
        "Make a key",
        "API 키 만들기",
        "API 키를 만듭니다. 키는 이때 한 번만 보여 줍니다.",
    ),
    "list_keys": (
        "List the keys",
        "API 키 목록",
        "모든 키와 각 키가 쓴 금액, 남은 금액을 보여 줍니다.",
    ),
    "change_key": (
        "Change a key",
        "API 키 수정",
        "보낸 항목만 바꾸고 나머지는 그대로 둡니다.",
    ),
    "revoke_key": (
        "Revoke a key",
        "API 키 폐기",
        "키를 폐기합니다. 그 순간부터 어느 워커에서도 쓸 수 없습니다.",
    ),
    "create_budget": (
        "Put a cap on what may be spent",
        "지출 한도 만들기",
        "키나 사용자, 또는 서비스 전체가 기간마다 쓸 수 있는 금액의 한도를 정합니다.",
    ),
    "list_budgets": (
        "List the caps",
        "지출 한도 목록",
        "모든 한도와 현재 사용 상황을 보여 줍니다.",
    ),
    "get_budget": (
        "Show a cap, day by day",
        "지출 한도 보기",
        "한도 하나와, 이번 기간의 날짜별 사용 금액을 보여 줍니다.",
    ),
    "change_budget": (
        "Change a cap",
        "지출 한도 수정",
        "보낸 항목만 바꿉니다. 이미 쓴 금액은 그대로 셉니다.",
    ),
    "delete_budget": (
        "Take a cap away",
        "지출 한도 삭제",
        "한도를 없앱니다.",
    ),
    "get_service_status": (
        "Show what this service is and whether it works",
        "서비스 상태",
        "서비스 정보와 정상 작동 여부를 보여 줍니다.",
    ),
    "check_health": (
        "Check whether this process answers",
        "응답 확인",
        "이 프로세스가 응답하는지 확인합니다. 데이터베이스는 확인하지 않습니다.",
    ),
}
# By schema: the Korean of what a body is.
SCHEMAS = {
    "Segment": "`criteria`는 JSON 객체를 문자열로 담습니다.",
    "SegmentChange": "보낸 항목만 바뀝니다. description이나 criteria에 null을 보내면 비워집니다.",
    "TextPreview": "이 요청으로 OpenAI에 보낼 내용과 최대 비용(미국 달러)입니다. 실제 토큰 수는 "
    "`max_prompt_tokens`를 넘지 않고, 문안 `n`개의 길이는 합해서 `max_completion_tokens`를 넘지 "
    "않습니다. `n`을 받지 않는 모델은 메시지를 `n`번 읽습니다.",
    "TextAnswer": "`variants`는 모든 문안이고, 첫 번째 문안은 `text`에도 있습니다. 문안이 `n`개보다 "
    "적거나 잘렸거나 다른 모델이 응답했다면 `warning`이 이유를 알려 줍니다. `id`는 /content/history, "
    "`job_id`는 /costs/history의 번호입니다. `id`가 null이면 그사이 데이터베이스가 끊겨 서버 로그에만 "
    "남은 문안입니다. `cost`는 모든 문안을 합한 금액(미국 달러)이고, OpenAI가 토큰 수를 모두 알려 주지 "
    "않았으면 null입니다. `usage`는 OpenAI가 알려 준 토큰 수입니다. `budget_remaining`은 이 요청에 걸리는 "
    "한도 중 가장 적게 남은 금액(미국 달러)이고, 한도가 없으면 null입니다.",
    "ImagePreview": "이 요청으로 OpenAI에 요청할 내용과 최대 비용(미국 달러)입니다. 프롬프트는 "
    "`max_prompt_tokens`를 넘지 않고, 원래 모델과 후속 모델 중 무엇이 그려도 이미지는 "
    "`max_output_tokens`를 넘지 않습니다. 토큰이 아니라 이미지 단위로 청구하는 모델이면 null입니다. 최대 "
    "비용을 알 수 없으면 `max_cost`가 null이고, 한도가 있을 때 이런 요청은 거부합니다.",
    "ImageAnswer": "`id`는 /content/history의 번호(서버 로그에만 남았으면 null), `job_id`는 "
    "/costs/history의 번호, `cost`는 미국 달러입니다. `image_url`은 계속 열립니다. 이미지를 보관하지 못한 "
    "경우에만 OpenAI의 주소이고, 언제까지 열리는지 `image_expires_at`이 알려 줍니다. 토큰이 아니라 "
    "이미지 단위로 청구하는 모델이면 `usage`가 null입니다. 지정한 모델 대신 다른 모델이 응답했다면 "
    "`warning`이 알려 줍니다. `budget_remaining`은 이 요청에 걸리는 한도 중 가장 적게 남은 금액(미국 "
    "달러)이고, 한도가 없으면 null입니다.",
    "Usage": "이미지의 토큰은 입력(prompt)과 출력(completion)입니다.",
    "Variant": "한 번에 만든 문안 중 하나와 그 몫의 비용(미국 달러)입니다. 모델이 다 쓰기 전에 끊긴 "
    "문안이면 `cut`이 true이고 `finish_reason`이 이유입니다. 알 수 없으면 둘 다 null입니다.",
    "Content": "생성한 콘텐츠 하나입니다. 이미지의 `result`는 주소입니다. 모델이 다 쓰기 전에 끊긴 문안이면 "
    "`cut`이 true이고 `finish_reason`이 이유입니다. 이미지이거나 알 수 없으면 둘 다 null입니다.",
    "Asked": "요청한 내용입니다. `size`와 `quality`는 이미지의 값이고, 나머지는 문안의 값입니다.",
    "ContentHistory": "`total`은 `limit`을 넘는 것까지 조건에 맞는 전체 개수입니다.",
    "ContentItem": "콘텐츠 하나의 모든 정보입니다. 모르는 값은 null입니다. `request`는 요청한 내용, `job`은 "
    "만든 작업, `cost`는 작업 비용 중 이 콘텐츠의 몫(미국 달러), `usage`는 작업 전체의 토큰입니다. "
    "`siblings`는 같은 작업의 다른 문안, `performance`는 보고된 성과입니다.",
    "Job": "생성 작업 하나입니다. 값이 없는 항목은 생략합니다. `estimated_cost`는 미국 달러이고, 비용을 알 "
    "수 없으면 없습니다. `max_cost`는 나올 수 있는 최대 비용입니다. `status`는 pending(진행 중), "
    "completed(완료), failed(실패), unknown(응답을 받지 못했고 청구되었을 수 있음) 중 하나입니다. `key_id`는 "
    "요청한 API 키의 번호, `settled_by`는 나중에 비용을 확정한 사람입니다.",
    "JobChange": "비용을 알 수 없던 작업의 실제 비용(미국 달러)과 확정하는 사람입니다.",
    "CapRequest": "`period`마다 쓸 수 있는 금액입니다. total은 다시 시작하지 않는 전체 한도입니다.",
    "BudgetRequest": "키나 사용자에 대한 한도이고, 둘 다 적지 않으면 서비스 전체의 한도입니다.",
    "BudgetChange": "보낸 항목만 바뀝니다. 이번 기간에 이미 쓴 금액은 그대로 셉니다.",
    "CapChange": "보낸 항목만 바뀝니다. 이번 기간에 이미 쓴 금액은 그대로 셉니다.",
    "Budget": "한도와 이번 기간의 사용 상황입니다. `held`는 진행 중인 요청이 쓸 수 있는 최대 금액, `left`는 "
    "다음 요청이 쓸 수 있는 금액입니다. `ends_at`에 새로 시작하며, 다시 시작하지 않는 한도이면 시작과 끝이 "
    "모두 null입니다. SERVICE_BUDGET_USD로 정한 한도는 번호가 0이고, 설정에서만 바꿀 수 "
    "있습니다.",
    "BudgetDay": "한도의 시간대로 하루 동안의 작업이 쓴 금액과 잡아 둔 금액입니다.",
    "BudgetItem": "`days`는 이번 기간에 요청이 있었던 날짜입니다.",
    "KeyRequest": "`user_id`를 적으면 그 사용자로 생성하고 그 사용자의 기록만 보는 키가 됩니다. `scopes`는 "
    "키의 권한으로, generate(생성과 세그먼트 변경), metrics(성과 보고), read(조회)입니다.",
    "KeyChange": "보낸 항목만 바뀝니다. null을 보내면 만료일, 한도, 분당 횟수 제한이 없어집니다. 누구의 "
    "키인지는 바꿀 수 없으니 새 키를 만드세요.",
    "Key": "비밀 값을 뺀 키입니다. `spent`는 지금까지 쓴 전체 금액, `left`는 키의 한도에서 남은 금액(한도가 "
    "없으면 null)입니다. `last_used_at`은 1분 단위로 정확합니다.",
    "NewKey": "`key`는 이번 한 번만 보여 줍니다. 다시 볼 수 없으니 보관하세요.",
    "CostsHistory": "`total`은 `limit`을 넘는 것까지 조건에 맞는 전체 개수입니다. 이미지 작업의 토큰 수는 "
    "여기에 없고 /content/{id}에 있습니다.",
    "CostsSummary": "비용은 미국 달러입니다. `period`는 집계한 첫 작업부터 마지막 작업까지입니다.",
    "Metric": "보고할 수치 하나입니다. 캠페인은 `project_id`와 `campaign_id`의 쌍이고, 번호는 직접 정합니다. "
    "`event_id`가 있으면 다시 보내도 프로젝트 안에서 한 번만 집계합니다. 정정할 때는 차이를 새 `event_id`로, "
    "정정할 수치의 `timestamp`와 함께 보내세요. 모르는 이름의 항목은 거부합니다.",
    "MetricsAdded": "보낸 수치 중 새로 저장한 개수와, 같은 값으로 이미 받은 개수입니다. 나머지는 `errors`에 "
    "있습니다(목록의 상태 코드는 200입니다). `not_counted`는 어떤 합계에도 들어가지 않는 이름입니다.",
    "MetricError": "목록의 `index`번째(0부터) 수치가 잘못된 이유입니다. 하나만 보냈을 때의 오류와 같습니다.",
    "Overview": "수치의 합계입니다. `avg_ctr`(클릭/노출), `avg_conversion_rate`(전환/클릭), "
    "`conversion_rate_per_impression`은 퍼센트이고 나눌 수 없으면 0.0입니다. `generation_cost`는 성과가 "
    "보고된 콘텐츠의 생성 비용(미국 달러)이고, 클릭당·전환당 비용은 그 콘텐츠의 클릭과 전환으로 "
    "나누며 클릭이나 전환이 없으면 null입니다. `unknown_costs`는 비용을 알 수 없는 콘텐츠의 수이고, 그 비용은 합계에 "
    "들어가지 않습니다.",
    "Figures": "콘텐츠의 성과입니다. 비율은 퍼센트(나눌 수 없으면 0.0)이고 95 % 윌슨 구간이 함께 있습니다. 비용은 미국 "
    "달러이고, 알 수 없거나 나눌 수 없으면 null입니다.",
    "ContentFigures": "문안이나 이미지 하나의 성과입니다. 이미지의 `result`는 주소입니다. 모델이 다 쓰기 전에 "
    "끊긴 문안이면 `cut`이 true입니다.",
    "GroupFigures": "세그먼트, 톤, 모델, 캠페인 중 하나로 묶은 콘텐츠의 성과를 합한 것입니다. 삭제한 세그먼트는 "
    "이름이 없습니다. `unknown_costs`는 비용을 알 수 없는 콘텐츠의 수이고, 그 비용은 합계에 들어가지 않습니다.",
    "ContentPage": "마지막 페이지에서는 `next_cursor`가 null입니다.",
    "GroupPage": "그룹별 성과입니다. 마지막 페이지에서는 `next_cursor`가 null입니다.",
    "Model": "지정할 수 있는 모델입니다. `resolves_to`는 지금 실제로 호출하는 모델로, OpenAI가 모델을 종료한 "
    "뒤에는 후속 모델입니다. `retired_on`은 종료일입니다. `tiers`는 텍스트 모델의 OpenAI 서비스 등급별 가격입니다. "
    "`qualities`와 `sizes`는 이미지 모델이 받는 품질과 크기이고, `any_size`가 true이면 다른 크기도 받습니다. "
    "`longest_prompt`는 프롬프트의 최대 글자 수입니다.",
    "TextPrice": "100만 토큰당 미국 달러입니다. null이면 다른 입력과 같은 가격입니다.",
    "ImagePrice": "이미지 한 장당 미국 달러입니다.",
    "ImageTokenPrice": "100만 토큰당 미국 달러입니다.",
    "VariantFigures": "문안 하나의 성과를 가장 앞선 문안과 비교합니다. `p_value`는 이만큼 큰 차이가 우연만으로 생길 "
    "확률(두 비율의 z-검정), `p_value_holm`은 비교한 수만큼 보정한 값(홀름)입니다. 가장 앞선 문안이거나 비교할 "
    "문안이 없으면 null입니다. 표본이 작으면 `enough_data`가 false이고, 비교에서 빠지며 다른 문안의 "
    "결과에는 영향을 주지 않습니다.",
    "VariantComparison": "한 번에 만든 문안들입니다. `leader`는 표본이 충분한 다른 모든 문안을 우연으로 보기 "
    "어려울 만큼(모든 `p_value_holm`이 0.05 미만) 앞선 문안의 id입니다. 아직 없거나 100 %를 넘는 비율이 있으면 "
    "null입니다.",
    "ServiceStatus": "데이터베이스에 연결할 수 없으면 `status`가 degraded, `database`가 disconnected입니다.",
    "InvalidField": "요청에서 잘못된 위치와 이유입니다.",
}
# By the English of it: fields, tags, and what an error means.
TEXTS = {
    "A key of your own, such as a UUID: however often the same request is sent with it, one "
    "generation is made and paid for, and each gets its answer.": "UUID처럼 직접 정한 키입니다. 같은 "
    "요청을 같은 키로 몇 번 보내도 한 번만 생성하고 한 번만 청구하며, 매번 같은 응답을 받습니다.",
    "Of this project alone.": "이 프로젝트만 집계합니다.",
    "Of this campaign alone.": "이 캠페인만 집계합니다.",
    "From then on: ISO 8601, in UTC unless it has an offset.": "이때부터: ISO 8601 형식이고, 시간대 "
    "표시가 없으면 UTC입니다.",
    "Until before then; a date alone is included.": "이때 전까지: 날짜만 쓰면 그날을 포함합니다.",
    "Written for this segment alone.": "이 세그먼트로 쓴 콘텐츠만 보여 줍니다.",
    "Instead of each content, each segment, tone, model or campaign.": "콘텐츠 대신 세그먼트, 톤, 모델, "
    "캠페인별로 묶습니다.",
    "By what they are ordered.": "정렬 기준입니다.",
    "The largest first, or the smallest.": "큰 값부터(desc) 또는 작은 값부터(asc)입니다.",
    "The rows of a page.": "한 페이지의 개수입니다.",
    "`next_cursor` of the page before, all else unchanged.": "앞 페이지의 `next_cursor`입니다. 다른 조건은 "
    "그대로 두세요.",
    "The rate to lead by.": "비교할 비율입니다.",
    "From, to: the 95 % Wilson interval, in percent. Null where it has none.": "95 % 윌슨 구간의 시작과 "
    "끝(퍼센트)입니다. 구할 수 없으면 null입니다.",
    "1024x1024, 1024x1792, 1792x1024, or what else the model takes.": "이미지 크기입니다. 모델이 받는 다른 "
    "크기도 됩니다.",
    "standard, hd, or what else the model takes.": "이미지 품질입니다. 모델이 받는 다른 품질도 됩니다.",
    "One of GET /models of the kind image; the one of IMAGE_MODEL by default.": "GET /models의 image 모델 "
    "중 하나입니다. 생략하면 IMAGE_MODEL을 씁니다.",
    "One of GET /models of the kind text; the one of TEXT_MODEL by default.": "GET /models의 text 모델 중 "
    "하나입니다. 생략하면 TEXT_MODEL을 씁니다.",
    "Who it is for: the cost is booked on this user, whom OpenAI sees hashed.": "누구를 위한 생성인지 "
    "나타냅니다. 비용은 이 사용자 앞으로 기록하고, OpenAI에는 해시한 값만 보냅니다.",
    "impressions, clicks, conversions, or another name of your own.": "impressions(노출), clicks(클릭), "
    "conversions(전환) 또는 직접 정한 이름입니다.",
    "Negative only to correct what was reported before.": "이미 보고한 값을 정정할 때만 음수를 씁니다.",
    "The text or image it was seen on.": "사람들이 본 문안이나 이미지의 id입니다.",
    "Of what is reported: ISO 8601 with any offset; now, if left out.": "성과가 발생한 시각: ISO 8601 "
    "형식이고 시차를 적을 수 있으며, 생략하면 현재 시각입니다.",
    "Your own id of what happened: all that tells its row from others, such as "
    "day/campaign/content/metric.": "직접 정한 이벤트 id입니다. 날짜/캠페인/콘텐츠/지표처럼 다른 행과 "
    "구별되게 정하세요.",
    "Any JSON object, at most 20 levels deep.": "어떤 JSON 객체든 됩니다. 깊이는 20단계까지입니다.",
    "Write for this segment.": "이 세그먼트에 맞춰 씁니다.",
    "Tone of voice: 전문적, 친근한, 유머러스, …": "말투입니다. 예: 전문적, 친근한, 유머러스.",
    "To be worked into the text.": "문안에 넣을 단어입니다.",
    "The text's largest length, in tokens.": "문안의 최대 길이(토큰 수)입니다.",
    "How many variants to write.": "만들 문안의 수입니다.",
    "Whom copy is written for.": "문안을 읽을 고객층입니다.",
    "Copy and images, and what they can cost beforehand.": "문안과 이미지를 만들고, 비용을 미리 확인합니다.",
    "What was generated.": "생성한 콘텐츠입니다.",
    "What campaigns did: metrics in, figures out.": "캠페인 성과를 보고하고 분석합니다.",
    "What can be asked, and its prices.": "쓸 수 있는 모델과 가격입니다.",
    "What generation cost.": "생성 비용입니다.",
    "Whether the service works.": "서비스가 정상인지 확인합니다.",
    "There is no such segment.": "해당 세그먼트가 없습니다.",
    "There is no such content.": "해당 콘텐츠가 없습니다.",
    "There is no such image.": "해당 이미지가 없습니다.",
    "There is no such content (of one metric; in a list: its error).": "해당 콘텐츠가 없습니다(수치 하나를 "
    "보낸 경우이고, 목록에서는 그 수치의 오류로 알려 줍니다).",
    "The first request with this Idempotency-Key still runs (Retry-After says when to ask again).": "이 "
    "Idempotency-Key의 첫 요청을 아직 처리하고 있습니다. Retry-After에 적힌 시간 뒤에 다시 보내세요.",
    "Nobody knows what the first request with this Idempotency-Key came to.": "이 Idempotency-Key의 첫 "
    "요청이 어떻게 끝났는지 알 수 없습니다.",
    "The request is too large.": "요청이 너무 큽니다.",
    "The request is not valid; nothing was stored or spent.": "요청이 올바르지 않습니다. 아무것도 저장하거나 "
    "지출하지 않았습니다.",
    "Nothing came of the call to OpenAI; its job is kept as failed.": "OpenAI 호출이 실패했습니다. 작업은 "
    "실패로 기록됩니다.",
    "No OpenAI key is set.": "OpenAI 키가 설정되지 않았습니다.",
    "As many generations run as may; Retry-After says for how long.": "동시에 처리할 수 있는 생성이 가득 "
    "찼습니다. Retry-After에 적힌 시간 뒤에 다시 보내세요.",
    "The database is out of reach; Retry-After says for how long.": "데이터베이스에 연결할 수 없습니다. "
    "Retry-After에 적힌 시간 뒤에 다시 보내세요.",
    "The image store is out of reach.": "이미지 저장소에 연결할 수 없습니다.",
    "The image; it never changes, so it may be cached for good.": "이미지입니다. 바뀌지 않으므로 계속 "
    "캐시해도 됩니다.",
    "In US dollars: what could cost more is refused, and nothing is spent.": "미국 달러입니다. 이보다 비쌀 수 "
    "있는 요청은 비용을 쓰지 않고 거부합니다.",
    "In US dollars.": "미국 달러입니다.",
    "In which the period begins at midnight: an IANA name.": "기간은 이 시간대의 자정에 시작합니다. IANA "
    "이름(예: Asia/Seoul)으로 적습니다.",
    "Generations in one minute, at most.": "1분에 생성할 수 있는 최대 횟수입니다.",
    "A key of this service, or its ADMIN_KEY.": "이 서비스의 API 키 또는 ADMIN_KEY입니다.",
    "The same, where Authorization is taken.": "Authorization 헤더를 다른 곳에서 쓸 때 같은 키를 이 헤더로 "
    "보냅니다.",
    "Who may do what; ADMIN_KEY opens these.": "누가 무엇을 할 수 있는지 정합니다. ADMIN_KEY가 필요합니다.",
    "How much may be spent; ADMIN_KEY opens these.": "얼마까지 쓸 수 있는지 정합니다. ADMIN_KEY가 필요합니다.",
    "No key was sent.": "키를 보내지 않았습니다.",
    "The key opens nothing.": "쓸 수 없는 키입니다.",
    "It could cost more than a cap has left; nothing was spent.": "한도에서 남은 금액보다 비쌀 수 있는 "
    "요청입니다. 비용은 들지 않았습니다.",
    "The key does not open this, or is another user's.": "이 키에 권한이 없거나 다른 사용자의 키입니다.",
    "The key has asked too often; Retry-After says when it may again.": "이 키로 너무 자주 요청했습니다. "
    "Retry-After에 적힌 시간 뒤에 다시 보내세요.",
    "There is no such job.": "해당 작업이 없습니다.",
    "There is no such key.": "해당 키가 없습니다.",
    "There is no such budget.": "해당 한도가 없습니다.",
    "It is the cap of the settings.": "설정으로 정한 한도입니다.",
    "The cost of this job is known, or it still runs.": "비용을 이미 아는 작업이거나 아직 진행 중인 작업입니다.",
    "Successful Response": "성공 응답입니다.",
    "The service that this description is from": "이 문서를 제공하는 서비스입니다.",
}
OR = " Or: "


def add_to(document: dict[str, Any]) -> None:
    """Say in Korean too what this OpenAPI document says in English."""
    for name, schema in document["components"]["schemas"].items():
        if name in SCHEMAS:
            schema["description"] = f"{schema['description']}\n\n{SCHEMAS[name]}"
    for path in document["paths"].values():
        for operation in path.values():
            english, korean, description = OPERATIONS[operation["operationId"]]
            operation["summary"] = f"{english} · {korean}"
            operation["description"] = f"{operation['description']}\n\n{description}"
    _translate(document)


def _translate(value: Any) -> None:
    """Add to each description in this part of a document the Korean of TEXTS."""
    if isinstance(value, list):
        for part in value:
            _translate(part)
    elif isinstance(value, dict):
        text = value.get("description")
        if isinstance(text, str):
            korean = [TEXTS[part] for part in text.split(OR) if part in TEXTS]
            value["description"] = "\n\n".join(filter(None, (text, " 또는: ".join(korean))))
        for part in value.values():
            _translate(part)
