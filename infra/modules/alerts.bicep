// The alert rules of monitoring/alerts.yml: log queries over what the application measures, split where they say so.
param prefix string
param location string
param tags object
param logsId string
param actionGroupId string

var rules = loadYamlContent('../../monitoring/alerts.yml').rules

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: '${prefix}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${prefix}: ${rule.title}'
    description: '${rule.means} What to do: ${rule.runbook}'
    severity: rule.severity
    enabled: true
    scopes: [
      logsId
    ]
    evaluationFrequency: rule.every
    windowSize: rule.over
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Total'
          metricMeasureColumn: rule.measure
          dimensions: [for dimension in rule.by: {
            name: dimension
            operator: 'Include'
            values: [
              '*'
            ]
          }]
          operator: rule.alarm
          threshold: rule.than
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    actions: {
      actionGroups: [
        actionGroupId
      ]
      customProperties: {
        rule: rule.name
        runbook: rule.runbook
      }
    }
  }
}]
